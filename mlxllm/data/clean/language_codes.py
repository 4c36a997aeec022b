"""Codes of languages as they are met in headers and columns, as the two letters of ISO 639-1 where there are such."""

import re

_THREE = {  # ISO 639-2, both its kinds, and the macrolanguage for its commonest member
    code: two
    for two, codes in {
        "af": "afr", "am": "amh", "an": "arg", "ar": "ara arb", "as": "asm", "az": "aze azj", "ba": "bak", "be": "bel",
        "bg": "bul", "bn": "ben", "br": "bre", "bs": "bos", "ca": "cat", "cs": "ces cze", "cy": "cym wel", "da": "dan",
        "de": "deu ger", "dz": "dzo", "el": "ell gre", "en": "eng", "eo": "epo", "es": "spa", "et": "est ekk",
        "eu": "eus baq", "fa": "fas per pes", "fi": "fin", "fo": "fao", "fr": "fra fre", "fy": "fry", "ga": "gle",
        "gd": "gla", "gl": "glg", "gu": "guj", "ha": "hau", "he": "heb", "hi": "hin", "hr": "hrv", "ht": "hat",
        "hu": "hun", "hy": "hye arm", "id": "ind", "ig": "ibo", "is": "isl ice", "it": "ita", "ja": "jpn", "jv": "jav",
        "ka": "kat geo", "kk": "kaz", "km": "khm", "kn": "kan", "ko": "kor", "ku": "kur kmr", "ky": "kir", "la": "lat",
        "lb": "ltz", "lg": "lug", "ln": "lin", "lo": "lao", "lt": "lit", "lv": "lav lvs", "mg": "mlg", "mk": "mkd mac",
        "ml": "mal", "mn": "mon khk", "mr": "mar", "ms": "msa may zsm", "mt": "mlt", "my": "mya bur", "ne": "nep npi",
        "nl": "nld dut", "nn": "nno", "no": "nor nob", "oc": "oci", "om": "orm", "or": "ori ory", "pa": "pan", "pl": "pol",
        "ps": "pus", "pt": "por", "qu": "que", "ro": "ron rum", "ru": "rus", "rw": "kin", "sa": "san", "se": "sme",
        "si": "sin", "sk": "slk slo", "sl": "slv", "sn": "sna", "so": "som", "sq": "sqi alb", "sr": "srp", "st": "sot",
        "sv": "swe", "sw": "swa swh", "ta": "tam", "te": "tel", "tg": "tgk", "th": "tha", "tk": "tuk", "tl": "tgl fil",
        "tr": "tur", "tt": "tat", "ug": "uig", "uk": "ukr", "ur": "urd", "uz": "uzb uzn", "vi": "vie", "vo": "vol",
        "wa": "wln", "xh": "xho", "yo": "yor", "zh": "zho chi cmn", "zu": "zul",
    }.items()
    for code in codes.split()
}  # fmt: skip
_TWO = {"nb": "no", "wuu": "zh", "iw": "he", "in": "id", "jw": "jv"}  # kinds of one language; codes that were withdrawn
_NAMES = {
    "arabic": "ar", "chinese": "zh", "czech": "cs", "danish": "da", "dutch": "nl", "english": "en", "finnish": "fi",
    "french": "fr", "german": "de", "greek": "el", "hebrew": "he", "hindi": "hi", "hungarian": "hu", "italian": "it",
    "japanese": "ja", "korean": "ko", "norwegian": "no", "polish": "pl", "portuguese": "pt", "romanian": "ro",
    "russian": "ru", "spanish": "es", "swedish": "sv", "turkish": "tr", "ukrainian": "uk", "vietnamese": "vi",
}  # fmt: skip
_ONLY_THREE = "ace ary arz bcl crh ext fuv gcf gcr gom grc gug guw hbo kab kik lij ltg nso pcm sdh uzs vec yue"
_SUBTAG = re.compile(r"[-_]")

KNOWN = frozenset(_THREE.values()) | frozenset(_ONLY_THREE.split())
"""Languages that can be identified: those that py3langid tells apart."""


def language_code(written: str) -> str:
    """The code in `KNOWN` of `eng`, `en-US`, `eng_Latn` or `English`; "" for anything else, and for several at once."""
    code = _SUBTAG.split(written.strip().lower(), maxsplit=1)[0]
    code = _TWO.get(code) or _THREE.get(code) or _NAMES.get(code) or code
    return code if code in KNOWN else ""
