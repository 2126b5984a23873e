"""Labelled texts that others wrote: templates and formats of public packages, filled with values of Faker.

`labelled.py` is written beside the recognizers; these texts are not. They come from

- `presidio-evaluator`: the sentences and the telephone formats of Presidio's own data generator,
- `pii-anon`: the forms, records, logs and files of its evaluation framework,
- `chatterbot-corpus`: conversations in many languages,
- `faker`: prose in other languages, and the values of each country.

The packages are optional (`pip install --no-deps presidio-evaluator pii-anon chatterbot-corpus`); nothing of them is
imported.
"""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import yaml
from faker import Faker
from labelled import Label, Labelled, iban

LOCALES = {
    "en_US": "English",
    "en_GB": "English",
    "en_IN": "English",
    "de_DE": "German",
    "fr_FR": "French",
    "es_ES": "Spanish",
    "it_IT": "Italian",
    "pt_BR": "Portuguese",
    "pl_PL": "Polish",
    "ru_RU": "Russian",
    "ja_JP": "Japanese",
    "zh_CN": "Chinese",
    "ko_KR": "Korean",
    "th_TH": "Thai",
    "ar_AA": "Arabic",
}
"""The languages of prose that Faker has, by its locale."""

Value = Callable[[random.Random, Faker], str]

_SLOT = re.compile(r"\{\{(\w+)\}\}|\{(\w+)\}")
_FORMATS = re.compile(r"[#%]")


def missing() -> list[str]:
    """The packages of texts that are not installed."""
    names = ("presidio-evaluator", "pii-anon", "chatterbot-corpus")
    return [name for name in names if not _folder(name)]


def others(number: int, seed: int = 0) -> Iterator[Labelled]:
    """So many texts of each kind for which there are templates."""
    rng = random.Random(seed)
    kinds = {"chat": _sentences(), "records": _records(), "JSON": _sentences() + _records()}
    for kind, templates in kinds.items():
        for _ in range(number if templates else 0):
            yield _filled(rng.choice(templates), kind, rng)
    for _ in range(number):
        yield _in_another_language(rng)


def clean(number: int, seed: int = 0) -> Iterator[str]:
    """Sentences of the same templates that hold no value of an entity that is looked for."""
    rng = random.Random(seed)
    templates = [t for t in _sentences() if not any(_entity(name) for name in _names(t))]
    for _ in range(number if templates else 0):
        yield _filled(rng.choice(templates), "chat", rng).text


def conversations(language: str) -> list[str]:
    """What people said in the conversations of a language."""
    folder = _folder("chatterbot-corpus")
    said = list[str]()
    for path in sorted((folder / "data" / language).glob("*.yml")) if folder else []:
        for turns in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]:
            said += [str(turn) for turn in ([turns] if isinstance(turns, str) else turns)]
    return said


@cache
def _sentences() -> list[str]:
    """The sentences of Presidio's generator."""
    if not (folder := _folder("presidio-evaluator")):
        return []
    text = (folder / "data_generator/raw_data/templates.txt").read_text(errors="replace")
    return [line.replace(r"\n", "\n").replace(r"\,", ",") for line in text.splitlines() if line]


@cache
def _phone_formats() -> Sequence[str]:
    """How Presidio's generator writes telephone numbers."""
    if not (folder := _folder("presidio-evaluator")):
        return ("(###) ###-####",)
    source = (folder / "data_generator/faker_extensions/providers.py").read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.name == "PhoneNumberProviderNew":
            made = next(n for n in node.body if isinstance(n, ast.Assign))
            return tuple(ast.literal_eval(made.value))
    return ()


@cache
def _records() -> list[str]:
    """The texts of pii-anon's framework."""
    if not (folder := _folder("pii-anon")):
        return []
    source = (folder / "eval_framework/datasets/generator.py").read_text()
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "_TEMPLATES":
            made = ast.literal_eval(node.value or ast.List([]))
            return [each["template"].replace("{{", "{").replace("}}", "}") for each in made]
    return []


def _folder(package: str) -> Path | None:
    spec = find_spec(package.replace("-", "_"))
    return (
        Path(spec.submodule_search_locations[0])
        if spec and spec.submodule_search_locations
        else None
    )


@cache
def _faker(locale: str) -> Faker:
    made = Faker(locale)
    made.seed_instance(7)
    return made


def _digits(rng: random.Random, form: str) -> str:
    return _FORMATS.sub(
        lambda mark: rng.choice("123456789" if mark[0] == "%" else "0123456789"), form
    )


def _phone(rng: random.Random, faker: Faker) -> str:
    if rng.random() < 0.5:
        return faker.phone_number()
    return _digits(rng, rng.choice(_phone_formats()))


def _ssn(rng: random.Random, _: Faker) -> str:
    made = _faker("en_US").ssn()
    return rng.choice([made, made, made, made.replace("-", " "), made.replace("-", ".")])


def _ip(rng: random.Random, faker: Faker) -> str:
    return rng.choice([faker.ipv4_public, faker.ipv4_private, faker.ipv6])()


def _api_key(rng: random.Random, _: Faker) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return "sk" + "-" + "".join(rng.choices(letters, k=48))


def _card(_: random.Random, faker: Faker) -> str:
    return faker.credit_card_number()


VALUES: dict[str, tuple[str, Value]] = {
    "credit_card_number": ("CREDIT_CARD", _card),
    "cc": ("CREDIT_CARD", _card),
    "iban": ("IBAN_CODE", lambda rng, _: iban(rng)),
    "phone_number": ("PHONE_NUMBER", _phone),
    "phone": ("PHONE_NUMBER", _phone),
    "phone2": ("PHONE_NUMBER", _phone),
    "email": ("EMAIL_ADDRESS", lambda _, faker: faker.email()),
    "email2": ("EMAIL_ADDRESS", lambda _, faker: faker.company_email()),
    "ssn": ("US_SSN", _ssn),
    "ip_address": ("IP_ADDRESS", _ip),
    "ip": ("IP_ADDRESS", _ip),
    "api_key": ("SECRET", _api_key),
}
"""The slots that hold an entity that is looked for."""

_OTHERS: dict[str, Value] = {
    "person": lambda _, f: f.name(),
    "name": lambda _, f: f.name(),
    "contact_name": lambda _, f: f.name(),
    "name_male": lambda _, f: f.name_male(),
    "name_female": lambda _, f: f.name_female(),
    "address": lambda _, f: f.address(),
    "zip_code": lambda _, f: f.postcode(),
    "emp_id": lambda rng, _: _digits(rng, "EMP-#####"),
    "mrn": lambda rng, _: _digits(rng, "MRN-########"),
    "bank_account": lambda rng, _: _digits(rng, "%#########"),
    "routing_number": lambda rng, _: _digits(rng, "0########"),
    "tax_id": lambda rng, _: _digits(rng, "%#-#######"),
    "vin": lambda _, f: f.bothify("1HG??#####?######").upper(),
    "drivers_license": lambda rng, _: _digits(rng, "D#######"),
    "passport": lambda rng, _: _digits(rng, "P########"),
    "prescription": lambda rng, _: _digits(rng, "RX########"),
    "device_id": lambda _, f: f.uuid4(),
    "location_coords": lambda _, f: f"{f.latitude()}, {f.longitude()}",
    "dob": lambda _, f: f.date(),
    "date_of_birth": lambda _, f: f.date(),
    "date_time": lambda _, f: f.date_time().isoformat(),
    "age": lambda rng, _: str(rng.randint(1, 99)),
    "salary": lambda rng, _: _digits(rng, "$%##,###"),
    "claim_id": lambda rng, _: _digits(rng, "%#####"),
    "case_id": lambda rng, _: _digits(rng, "CASE-%####-####"),
}
"""The slots of other values, of which some look like one."""


def _names(template: str) -> list[str]:
    return [slot[1] or slot[2] for slot in _SLOT.finditer(template)]


def _entity(name: str) -> str:
    return VALUES[name][0] if name in VALUES else ""


def _filled(template: str, kind: str, rng: random.Random) -> Labelled:
    faker = _faker(rng.choice(["en_US", "en_US", "en_GB", "en_IN", "de_DE", "fr_FR", "pt_BR"]))
    parts, labels, length, at = list[str](), list[Label](), 0, 0

    def add(part: str) -> None:
        nonlocal length
        parts.append(json.dumps(part, ensure_ascii=False)[1:-1] if kind == "JSON" else part)
        length += len(parts[-1])

    if kind == "JSON":
        opening = rng.choice(['{"role": "user", "content": "', '{"id": 4817, "note": "', '["'])
        parts.append(opening)
        length = len(opening)
    for slot in _SLOT.finditer(template):
        add(template[at : slot.start()])
        at, start, name = slot.end(), length, slot[1] or slot[2]
        add(_value(name, rng, faker))
        if entity := _entity(name):
            labels.append(Label(start, length, entity))
    add(template[at:])
    if kind == "JSON":
        parts.append('"]' if parts[0] == '["' else '"}')
    return Labelled("".join(parts), tuple(labels), kind)


def _value(name: str, rng: random.Random, faker: Faker) -> str:
    if name in VALUES:
        return VALUES[name][1](rng, faker)
    if name in _OTHERS:
        return _OTHERS[name](rng, faker)
    made = getattr(faker, name, None)
    return str(made()) if made else faker.word()


def _in_another_language(rng: random.Random) -> Labelled:
    locale = rng.choice([locale for locale in LOCALES if not locale.startswith("en")])
    faker, english = _faker(locale), _faker("en_US")
    text, labels = faker.sentence(8).rstrip(".。"), list[Label]()
    for name in rng.choices(["email", "phone", "cc", "iban", "ip", "ssn"], k=2):
        value = _value(name, rng, faker if name == "phone" else english)
        text += rng.choice([" ", " ", ": ", "\uff08" if locale in ("ja_JP", "zh_CN") else " ("])
        labels.append(Label(len(text), len(text) + len(value), _entity(name)))
        text += value + rng.choice([", ", ". ", " ", ") "]) + faker.sentence(6).rstrip(".。")
    return Labelled(text, tuple(labels), "other languages")
