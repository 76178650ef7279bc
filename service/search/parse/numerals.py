"""Numbers in the formats of numbered lists: digits, letters, Roman and other numerals."""

from __future__ import annotations

MAX_LETTERS = 30  # of one number: Word repeats the letter after each round of the alphabet
_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl")),
    *((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
_ALPHABETS = {
    "lowerLetter": "abcdefghijklmnopqrstuvwxyz",
    "russianLower": "абвгдежзиклмнопрстуфхцчшщыэюя",
    "hebrew2": "אבגדהוזחטיכלמנסעפצקרשת",
    "arabicAlpha": "أبتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "aiueoFullWidth": "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン",
    "iroha": "イロハニホヘトチリヌルヲワカヨタレソツネナラムウヰノオクヤマケフコエテアサキユメミシヱヒモセス",
    "ganada": "가나다라마바사아자차카타파하",
    "ideographTraditional": "甲乙丙丁戊己庚辛壬癸",
    "ideographZodiac": "子丑寅卯辰巳午未申酉戌亥",
    "thaiLetters": "กขคงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรลวศษสหฬอฮ",
}
_UPPER = {"upperLetter": "lowerLetter", "russianUpper": "russianLower", "upperRoman": "lowerRoman"}
_SAME = {"aiueo": "aiueoFullWidth", "irohaFullWidth": "iroha", "decimalEnclosedCircleChinese": "decimalEnclosedCircle"}
_HAN = "〇一二三四五六七八九"


def format_number(kind: str, number: int) -> str:
    """Returns the number in a format of Word, such as `lowerRoman`; in digits if the format is not known."""
    if kind in _UPPER:
        return format_number(_UPPER[kind], number).upper()
    kind = _SAME.get(kind, kind)
    if kind in _ALPHABETS and number > 0:
        round_, place = divmod(number - 1, len(_ALPHABETS[kind]))
        return _ALPHABETS[kind][place] * min(round_ + 1, MAX_LETTERS)
    match kind:
        case "none" | "bullet":
            return ""
        case "decimalZero":
            return f"{number:02}"
        case "lowerRoman" if 0 < number < 4000:
            return _roman(number)
        case "ordinal":
            ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
            return f"{number}{ending}"
        case "decimalEnclosedCircle" if 0 < number <= 20:
            return chr(0x2460 + number - 1)
        case "decimalFullWidth" | "decimalFullWidth2":
            return "".join(chr(0xFEE0 + ord(digit)) for digit in str(number))
        case _ if kind.endswith(("Counting", "CountingThousand", "CountingSystem")) and 0 < number < 100:
            tens, ones = divmod(number, 10)
            return ("" if tens < 2 else _HAN[tens]) + ("十" if tens else "") + (_HAN[ones] if ones else "")
        case _:
            return str(number)


def _roman(number: int) -> str:
    letters = ""
    for value, sign in _ROMAN:
        count, number = divmod(number, value)
        letters += sign * count
    return letters
