"""Characters that look like ASCII, from scripts common on keyboards and in fonts.

They come from Unicode's confusables, https://www.unicode.org/Public/security/latest/confusables.txt (UTS #39).
Characters that compatibility normalization already turns into ASCII, such as full-width and mathematical letters, are
not repeated here.
"""

# ruff: noqa: RUF001

from __future__ import annotations

from typing import Final

_LIKE: Final = {
    "A": "АΑᎪ",
    "B": "ВΒᏴ",
    "C": "СϹᏟ",
    "D": "Ꭰ",
    "E": "ЕΕᎬ",
    "G": "ԌᏀ",
    "H": "НΗᎻ",
    "I": "ІΙӀ",
    "J": "ЈͿᎫ",
    "K": "КΚᏦ",
    "L": "Ꮮ",
    "M": "МΜᎷ",
    "N": "Ν",
    "O": "ОΟՕ",
    "P": "РΡᏢ",
    "Q": "Ԛ",
    "R": "Ꭱ",
    "S": "ЅՏᏚ",
    "T": "ТΤᎢ",
    "U": "Ս",
    "V": "ѴᏙ",
    "W": "ԜᎳ",
    "X": "ХΧ",
    "Y": "УҮΥ",
    "Z": "ΖᏃ",
    "a": "аαɑᴀ",
    "b": "ьʙ",
    "c": "сϲᴄ",
    "d": "ԁᴅ",
    "e": "еᴇ℮",
    "f": "ꜰ",
    "g": "ɡցɢ",
    "h": "һհʜ",
    "i": "іιıɩɪ",
    "j": "јϳյᴊ",
    "k": "кκᴋ",
    "l": "ӏʟ",
    "m": "мᴍ",
    "n": "пոɴ",
    "o": "оοσօᴏ",
    "p": "рρᴘ",
    "q": "ԛզ",
    "r": "гʀ",
    "s": "ѕꜱ",
    "t": "тτᴛ",
    "u": "υսᴜ",
    "v": "ѵνᴠ",
    "w": "ԝᴡ",
    "x": "хχ",
    "y": "уүγʏ",
    "z": "ᴢ",
    ".": "。·•‧۔∙⋅",
    "-": "−⁃˗➖",
    "/": "⁄∕⧸",
    ":": "∶꞉ː",
    "+": "➕",
    "~": "∼",
}

LOOKALIKES: Final = {char: letter for letter, chars in _LIKE.items() for char in chars}
"""The ASCII character that each of them looks like."""
