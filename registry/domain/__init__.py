"""Pure rules: values in, values out. Standard library only; no files, network, clock, environment.

refs            what names a checkpoint: reference, commit, digest
tensors         names, dtypes, shapes; the strict safetensors header parser
adapter_config  adapter_config.json of any PEFT version
base_model      config.json and the base's module tree
tokenizer       length and largest id from tokenizer files
keys            file key -> module path and part
facts           everything that was read of an adapter and of a base
plan            compute_plan: the rules below in order; steps, issues, the forecast of a plain load
  steps         the plan's steps, their JSON and digest
  assembly      a pair taken apart: names (naming), modules (base_view, targets), both sides
  rows          rules 1 and 3: the resize, ids in use, rows that nothing fills (templates)
  landing       rule 2: where each tensor lands (lora, saved), against which shapes (expected)
  labels, classes, notes, sizes, advice   num_labels, auto class, configs, figures, advice
  forecast      what PEFT alone would do, in its own words
alone           what the adapter's own files decide while its base is unread
summary         the facts of a record
issues          the catalogue of reasons (catalogue: title, cause and fix of each)
record          statuses, evidence, precedence, the printed record
"""
