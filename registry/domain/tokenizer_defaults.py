"""Special tokens that transformers 5.23's tokenizer classes have unless a file names others.

A class adds them to a vocabulary that lacks them, so they count. Table; a test compares it with the
classes themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

# `pad=<pad>` stands for `pad_token`; the classes are those without `Fast` at the end.
_TOKENS: tuple[tuple[str, str], ...] = (
    (
        "bos=[CLS] eos=[SEP] unk=<unk> sep=[SEP] pad=<pad> cls=[CLS] mask=[MASK]",
        "AlbertTokenizer FNetTokenizer RemBertTokenizer",
    ),
    (
        "bos=<s> eos=</s> sep=</s> cls=<s> unk=<unk> pad=<pad> mask=<mask>",
        "BartTokenizer BarthezTokenizer BartphoTokenizer BertweetTokenizer BlenderbotTokenizer "
        "CamembertTokenizer LayoutLMv3Tokenizer LayoutXLMTokenizer MBartTokenizer "
        "MarkupLMTokenizer NllbTokenizer PLBartTokenizer PhobertTokenizer RobertaTokenizer "
        "XLMRobertaTokenizer",
    ),
    (
        "bos=<s> eos=</s> unk=<unk> pad=<pad> sep=<::::>",
        "BertGenerationTokenizer",
    ),
    (
        "unk=[UNK] sep=[SEP] pad=[PAD] cls=[CLS] mask=[MASK]",
        "BertJapaneseTokenizer BertTokenizer ConvBertTokenizer DPRContextEncoderTokenizer "
        "DPRQuestionEncoderTokenizer DPRReaderTokenizer DistilBertTokenizer LayoutLMv2Tokenizer "
        "MobileBertTokenizer RoCBertTokenizer RoFormerTokenizer SqueezeBertTokenizer",
    ),
    (
        "unk=<unk> bos=<s> eos=</s> pad=<pad> sep=[SEP] mask=[MASK] cls=[CLS]",
        "BigBirdTokenizer",
    ),
    (
        "unk=<unk> bos=<s> eos=</s> sep=</s> pad=<pad>",
        "BioGptTokenizer",
    ),
    (
        "bos=__start__ eos=__end__ unk=__unk__ pad=__null__",
        "BlenderbotSmallTokenizer",
    ),
    (
        "eos=</s> unk=<unk> pad=<pad>",
        "ByT5Tokenizer LasrTokenizer MyT5Tokenizer T5Tokenizer VideoPrismTokenizer",
    ),
    (
        "unk=<|endoftext|> bos=<|startoftext|> eos=<|endoftext|> pad=<|endoftext|>",
        "CLIPTokenizer",
    ),
    (
        "unk=<unk>",
        "CTRLTokenizer OpenAIGPTTokenizer",
    ),
    (
        "unk=[UNK] bos=<|endoftext|> eos=[STOP] pad=[STOP]",
        "ClvpTokenizer",
    ),
    (
        "unk=<|endoftext|> bos=<|endoftext|> eos=<|endoftext|>",
        "CodeGenTokenizer GPT2Tokenizer WhisperTokenizer",
    ),
    (
        "unk=<unk> bos=<s> eos=</s> prefix=▁<PRE> middle=▁<MID> suffix=▁<SUF> eot=▁<EOT> "
        "fill=<FILL_ME>",
        "CodeLlamaTokenizer",
    ),
    (
        "unk=<UNK> bos=<BOS_TOKEN> eos=<|END_OF_TURN_TOKEN|> pad=<PAD> cls=<CLS> sep=<SEP> "
        "mask=<MASK_TOKEN>",
        "CohereTokenizer",
    ),
    (
        "bod=<d> eod=</d> bos=<s> eos=</s> pad=<pad> unk=<unk> line=</n> space=</_>",
        "CpmAntTokenizer",
    ),
    (
        "bos=<s> eos=</s> unk=<unk> sep=<sep> pad=<pad> cls=<cls> mask=<mask>",
        "CpmTokenizer XLNetTokenizer",
    ),
    (
        "bos=[CLS] eos=[SEP] sep=[SEP] cls=[CLS] unk=[UNK] pad=[PAD] mask=[MASK]",
        "DebertaTokenizer",
    ),
    (
        "bos=[CLS] eos=[SEP] unk=[UNK] sep=[SEP] pad=[PAD] cls=[CLS] mask=[MASK]",
        "DebertaV2Tokenizer",
    ),
    (
        "pad=<pad> unk=<pad>",
        "DiaTokenizer",
    ),
    (
        "unk=<unk> cls=<cls> pad=<pad> mask=<mask> eos=<eos>",
        "EsmTokenizer",
    ),
    (
        "unk=<unk> cls=<cls> pad=<pad> mask=<mask> eos=<eos> chain_break=|",
        "EsmcTokenizer",
    ),
    (
        "unk=<unk> bos=<s> sep=</s> pad=<pad>",
        "FSMTTokenizer",
    ),
    (
        "bos=<sos/eos> eos=<sos/eos> pad=<blank> unk=<unk>",
        "FastSpeech2ConformerTokenizer",
    ),
    (
        "unk=<unk> bos=<s> sep=</s> pad=<pad> cls=</s> mask=<special1>",
        "FlaubertTokenizer XLMTokenizer",
    ),
    (
        "unk=<unk> sep=<sep> pad=<pad> cls=<cls> mask=<mask> bos=<s> eos=</s>",
        "FunnelTokenizer",
    ),
    (
        "unk=<|endoftext|> pad=<|endoftext|> bos=<|startoftext|> eos=<|endoftext|>",
        "GPTNeoXJapaneseTokenizer",
    ),
    (
        "unk=<|endoftext|> bos=<|endoftext|> eos=<|endoftext|> pad=<|padding|>",
        "GPTNeoXTokenizer",
    ),
    (
        "unk=<unk> bos=<bos> eos=<eos> pad=<pad> mask=<mask>",
        "GemmaTokenizer Siglip2Tokenizer",
    ),
    (
        "cls=<s> unk=<unk> pad=<pad> mask=<mask> sep=</s>",
        "HerbertTokenizer",
    ),
    (
        "unk=<unk> bos=<s> eos=</s>",
        "LlamaTokenizer",
    ),
    (
        "bos=<s> eos=</s> sep=</s> cls=<s> unk=<unk> pad=<pad> mask=<mask> entity_1=<ent> "
        "entity_2=<ent2> entity_unk=[UNK] entity_pad=[PAD] entity_mask=[MASK] "
        "entity_mask2=[MASK2]",
        "LukeTokenizer MLukeTokenizer",
    ),
    (
        "bos=<s> eos=</s> sep=</s> pad=<pad> unk=<unk>",
        "M2M100Tokenizer",
    ),
    (
        "eos=</s> sep=</s> cls=<s> unk=<unk> pad=<pad> mask=<mask>",
        "MBart50Tokenizer",
    ),
    (
        "bos=<s> eos=</s> sep=</s> cls=<s> unk=[UNK] pad=<pad> mask=<mask>",
        "MPNetTokenizer",
    ),
    (
        "unk=<unk> eos=</s> pad=<pad>",
        "MarianTokenizer",
    ),
    (
        "unk=[GO] bos=[GO] eos=[s] pad=[GO]",
        "MgpstrTokenizer",
    ),
    (
        "unk=<unk> bos=<s> eos=</s> pad=<pad>",
        "NougatTokenizer",
    ),
    (
        "pad=<pad> eos=</s> unk=<unk> mask=<mask_2>",
        "PegasusTokenizer",
    ),
    (
        "pad=[PAD] bos=[BOS] eos=[EOS] mask=[MASK] cls=[CLS] sep=[SEP]",
        "PerceiverTokenizer",
    ),
    (
        "unk=[UNK] sep=[SEP] x_sep=[X_SEP] pad=[PAD] mask=[MASK]",
        "ProphetNetTokenizer",
    ),
    (
        "unk=<|endoftext|> eos=<|endoftext|> pad=<|endoftext|>",
        "Qwen2Tokenizer Qwen3_5Tokenizer",
    ),
    (
        "eos=</s> unk=<unk>",
        "ReformerTokenizer",
    ),
    (
        "bos=<s> eos=</s> sep=</s> cls=<s> unk=<unk> pad=<pad>",
        "SeamlessM4TTokenizer XGLMTokenizer",
    ),
    (
        "eos=</s> unk=<unk> pad=</s>",
        "SiglipTokenizer",
    ),
    (
        "bos=<s> eos=</s> pad=<pad> unk=<unk>",
        "Speech2TextTokenizer",
    ),
    (
        "bos=<s> eos=</s> unk=<unk> pad=<pad>",
        "SpeechT5Tokenizer",
    ),
    (
        "unk=[UNK] sep=[SEP] pad=[PAD] cls=[CLS] mask=[MASK] question=[QUESTION]",
        "SplinterTokenizer",
    ),
    (
        "unk=[UNK] sep=[SEP] pad=[PAD] cls=[CLS] mask=[MASK] empty=[EMPTY]",
        "TapasTokenizer",
    ),
    (
        "unk=<unk> pad=<pad>",
        "Tipsv2Tokenizer",
    ),
    (
        "eos=</s> sep=</s> unk=<unk> pad=<pad>",
        "UdopTokenizer",
    ),
    (
        "pad=<pad> unk=<unk>",
        "VitsTokenizer",
    ),
    (
        "bos=<s> eos=</s> unk=<unk> pad=<pad> word_delimiter=|",
        "Wav2Vec2CTCTokenizer",
    ),
)


def _read(tokens: str) -> Mapping[str, str]:
    pairs = (token.partition("=") for token in tokens.split())
    return {f"{name}_token": text for name, _, text in pairs}


CLASS_TOKENS: Mapping[str, Mapping[str, str]] = {
    name: _read(tokens) for tokens, names in _TOKENS for name in names.split()
}

# Classes that add a list of their own, and one token of it: where it is missing from the files,
# the number of tokens is the class's affair.
CLASS_MARKERS: Mapping[str, str] = {
    "CamembertTokenizer": "<s>NOTUSED",
    "M2M100Tokenizer": "__en__",
    "MBart50Tokenizer": "en_XX",
    "MBartTokenizer": "en_XX",
    "NllbTokenizer": "eng_Latn",
    "PLBartTokenizer": "__java__",
    "PegasusTokenizer": "<unk_2>",
    "XLNetTokenizer": "<eop>",
}
# Classes that add `<extra_id_0>` and so on.
SENTINEL_CLASSES = frozenset({"T5Tokenizer"})
