"""Pure rules: values in, values out. Standard library only; no files, network, clock, environment.

refs            what names a checkpoint: reference, commit, digest
tensors         names, dtypes, shapes; the strict safetensors header parser
adapter_config  adapter_config.json of any PEFT version
base_model      config.json and the base's module tree
tokenizer       length and largest id from tokenizer files
keys            file key -> module path and part
facts           everything that was read of an adapter and of a base
plan, rows, ... how a load plan is decided
issues          the catalogue of reasons
record          statuses, evidence, precedence, the printed record
"""
