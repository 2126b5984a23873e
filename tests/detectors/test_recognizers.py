"""What each recognizer finds and what it leaves, alone and without the engine around it."""

# ruff: noqa: RUF001

# ruff: noqa: RUF001

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import cache
from itertools import pairwise
from typing import Any

import phonenumbers
import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st
from presidio_analyzer import AnalyzerEngine, PatternRecognizer, RecognizerRegistry
from presidio_analyzer import predefined_recognizers as presidio
from presidio_analyzer.predefined_recognizers import UrlRecognizer

from lg_prod_nodes import ConfigurationError
from lg_prod_nodes.detectors import Detector
from lg_prod_nodes.detectors.reading.words import WordEngine
from lg_prod_nodes.detectors.recognizers.catalogue import DEFAULT_ENTITIES, ENTITIES, recognizer
from lg_prod_nodes.detectors.recognizers.checked import CheckedRecognizer, luhn

OWN = (
    "CREDIT_CARD",
    "EMAIL_ADDRESS",
    "IBAN_CODE",
    "IP_ADDRESS",
    "MAC_ADDRESS",
    "PHONE_NUMBER",
    "SECRET",
    "URL",
    "US_SSN",
)
THRESHOLD = 0.4

one_of = cache(recognizer)


def found(entity: str, text: str) -> list[str]:
    results = one_of(entity).analyze(text, [entity], None)  # type: ignore[arg-type]
    places = sorted((r.start, r.end) for r in results if r.score >= THRESHOLD)
    return [text[start:end] for start, end in places]


def rows(table: dict[str, list[str]]) -> list[Any]:
    """The texts of each entity; what is to be found stands in angle quotes."""
    return [
        pytest.param(entity, text, id=f"{entity} {number}")
        for entity, texts in table.items()
        for number, text in enumerate(texts)
    ]


FOUND = {
    "URL": [
        "«https://example.com»",
        "Visit «https://example.com/path?x=1#y».",
        "(see «https://en.wikipedia.org/wiki/A_(b)»)",
        "«http://localhost:8080/x» and «http://backend:8000»",
        "«https://[::1]:9000/a»",
        "[x](«http://a.io/b»), **«https://b.io»**",
        "\"«https://a.io/b»\", '«https://x.org/y»', `«https://x.org/y»`",
        '<a href="«https://a.io/b»">t</a> <«https://c.io»>',
        "«https://user:pw@example.com/x»",
        '{"a": "«https://a.io/b»\\n«https://c.io/d»", "h": "«shop.example.de»"}',
        "1,«https://a.io/b»,ann@example.com",
        "«https://x.com/a?b=1»,o'neil@example.com",
        "«https://maps.google.com/@40.7,-74.0,15z»",
        "«www.example.com» «HTTPS://EXAMPLE.COM/A» «ftp://files.example.com/pub»",
        "visit «example.com». Or «bbc.co.uk», «spiegel.de», «acme.io»!",
        "«t.me/foo» «youtu.be/abc» «docs.python.org/3/library» «my-app.vercel.app»",
        "go to «amazon.in», my site is «acme.shop»",
        "访问«example.com»查看 «https://example.com/a»查看",
        "«https://münchen.de/straße» «https://xn--mnchen-3ya.de/»",
        "Done at «example.com».Then we left",
        r'{"x": "see\n«example.org»\n[a](«https://a.io/b»](x)"}',
        "«https://a.io/»??",
    ],
    "PHONE_NUMBER": [
        "call me at «555-123-4567»",
        "My phone number is «(555) 123-4567».",
        "«+1 (415) 555-2671», «+14155552671», «+1.212.555.0142»",
        "«+44 (0)20 7946 0958» «0044 20 7946 0958» «(+44) 7911 123456»",
        "«+49 30 901820», «+33 1 42 68 53 00», «+91 98765 43210», «+86 138 0013 8000»",
        "«020 7946 0958»; «0612345678»; «06 12 34 56 78»; «06.12.34.56.78»; «03-1234-5678»",
        "«089 / 123456» or «0151/23456789»",
        "«1-800-555-0199», «(212) 555-0142», «212-555-0142 x123», «415.555.2671 ext. 42»",
        '{"phone_number": "«4155552671»", "mobile_no":«9876543210», "contactNumber": "«9876543210»"}',
        r'{"a": "{\"phone\": \"«0612345678»\"}"}',
        "my cell is «4155552671», text «612 345 678»",
        "Phone:\n«(212) 555-0199»",
        "«212-555-0142»/«646-555-0123»",
        "<tel>«212-555-0199»</tel> **«212-555-0199»** [«212-555-0199»](tel:«+12125550199»)",
        "mon téléphone : «0612345678»",
        "8 or «8 (301) 458-18-99»",
        "«+7 160 757 6063» and «+1 211 555 0142»; We left. «212-555-0142»",
        r'{"n": "a\n«212-555-0142»"}',
        "customer «(415) 555-2671» called; patient «415-555-2671», account holder: «415-555-2671»",
        '{"customer": "«020 7946 0991»", "user": "«(415) 555-2671»", "id": "«415-555-2671»"}',
        "customer id «(415) 555-2671», passenger no. «415-555-2671»",
        "try «6466977900»! Or ask («6466977900»), Sure thing: «6466977900»",
        "我的号码是«13812345678»，或（«13812345678»）",
        "«+41 96 585 51 00»-Office,«+913526467625»-Fax «968.427.7421»-Mobile",
        "see («(07700) 598021») or («(415) 555-2671»), «415-3552466», at «95 8069-5042»",
    ],
    "IP_ADDRESS": [
        "server «10.0.0.1» down, «192.168.1.1»:8080, «10.0.0.0/8»",
        "from «203.0.113.7». (ip=«203.0.113.7»;)",
        "[«2001:db8::1»]:443 «fe80::1%eth0» «2001:db8::/32» «::ffff:192.0.2.128»",
        "«2001:0db8:85a3:0000:0000:8a2e:0370:7334»",
        "«10.0.0.1»-«10.0.0.50», «192.168.1.10»-50",
        '"ip": "«1.2.3.4»"',
        "«1.2.3.4»",
        "ssh root@«203.0.113.7»; ping «1.2.3.4»",
        r'{"x": "a\n«192.168.1.1»\n"}',
        "para «172.23.208.227», node «10.1.2.3», redis «172.16.0.9»",
    ],
    "EMAIL_ADDRESS": [
        "«a@b.co», <«bob+x@mail.example.co.uk»>, '«o'neil@example.ie»'",
        r"to\n«ann@x.com»\t\u003c«ann@x.com»\u003e",
        "«root@localhost» «ann@corp.internal» «x@db.lan»",
        "请发«ann@example.com»的",
        "users/«ann@example.com» mailto:«x@y.org»?subject=1 email=«ann@x.com»&b=1",
        "«jörg@müller.de» «ann@xn--mnchen-3ya.de» «a@x.photography»",
        "Write to «ann@example.com».Thanks",
    ],
    "CREDIT_CARD": [
        "«4111111111111111», «4111 1111 1111 1111» 12/27 123, «4111-1111-1111-1111».",
        "«378282246310005» «3782 822463 10005» «30569309025904»",
        "«2223003122003222» «6011111111111117» «3530111333300000» «4222222222222»",
        "«4111 1111 1111 1111» «5555 5555 5555 4444»",
        r'{"n": "x\n«4111111111111111»\n"}',
        "card id «4111111111111111», card «4348187326759823589», to invite «4348187326759823589»",
        "card,amount\n«4111111111111111»,12.50\n«4111111111111111»,3",
        "id\n«4111111111111111»",
        "«6222000000000000004» «4348 1873 2675 9823 589», customer «4111111111111111», id «4111 1111 1111 1111»",
    ],
    "IBAN_CODE": [
        "«DE89370400440532013000» 2 days, «gb29 nwbk 6016 1331 9268 19» and",
        "IBAN:«NL91ABNA0417164300». «FR14 2004 1010 0505 0001 3M02 606» and",
        "«MT84MALT011000012345MTLCAST001S» «DE89-3704-0044-0532-0130-00»",
    ],
    "US_SSN": [
        "«123-45-6789», «219 09 9999»; «219.09.9999»",
        "SSN: «123456789», social security number is «219099999»",
        '"ssn":"«219099999»"',
        'text=«234-45-6789» {"type": "text", "text": "«234-45-6789»"} text: «234 45 6789»',
        "context=«234-45-6789», you can reach me at «234-45-6789»",
        "tax id «585-87-9025», TIN: «585-87-9025», taxpayer id «585-87-9025», national id «585 87 9025»",
        '{"tax_id": "«585-87-9025»", "customer_id": "«585-87-9025»"} patient «585-87-9025»',
        "account «585-87-9025», member no. «585.87.9025», policy: «585-87-9025»",
        "ssn,name\n«219099999»,Ann",
        "con «027 42 7143», «039.83.9024»",
    ],
    "MAC_ADDRESS": ["«00:1A:2B:3C:4D:5E» «00-1a-2b-3c-4d-5e» «0012.3456.789a»"],
}

LEFT = {
    "URL": [
        "main.py README.md setup.py:12 src/main.rs ./a.sh && run.sh libfoo.so.1 index.html foo.zip",
        "application.properties deploy.app",
        "response.status_code user.name self.data.info obj.is df.groupby array.map(x) logger.info window.location.host",
        "com.example.app java.io.IOException np.array os.path.join Socket.IO ASP.NET node.js @types/node",
        "v1.2.3 1.2.3.4 e.g. i.e. U.S.A. end.Next ok.so stop.it now",
        "ann@example.com first.last@example.com ${user.name} {{ user.email }}",
        "https:// http://... https://",
        "fails in deploy.cc:42, 3.de, myApp.io, System.Net",
    ],
    "PHONE_NUMBER": [
        "order 2125550142, id: 2125550142, 1234567890, order #212-555-0142, ticket 0612345678, INV-212-555-0142",
        '{"timestamp": 1700000000000, "ts": 1700000000, "order_id": "2125550142"}',
        "called at 1700000000",
        "2024-01-15 10:30:45, 12/31/2024, 01.02.2024 10:30, dated 05 06 2024, 20240115103000",
        "192.168.100.200, 10.0.0.1:8080, 4111 1111 1111 1111, 219-09-9999, 978-3-16-148410-0",
        "40.7128, -74.0060 +37.774929,-122.419418 3.14159265358979 $1,234,567.89 1 000 000 000 2147483647 0123456789",
        "12345678-1234-1234-1234-123456789012 a1b2c3d4-5678-9012 0x1234567890 1Z999AA10123456784",
        "IBAN DE89 3704 0044 0532 0130 00",
        "+12345678, +999 1234567890",
        '{"customer_id": 2125550142, "user": 2125550142, "x": [2125550142]} count: 2125550142',
        "read 6466977900 bytes of 6466977900 rows, customer id 6466977900, part 6466977900, about 7800000000 people",
        "code postal 06190-863, in 20 2020-2021, ssn 039.83.9024 and 027 42 7143",
    ],
    "IP_ADDRESS": [
        "v1.2.3.4 version 10.2.3.4 Version: 203.0.113.7 chapter 1.2.3.4 section 4.5.6.7 § 1.2.3.4 release 12.0.1.3",
        'x==1.2.3.4 "version": "1.2.3.4" app_version=98.0.47.58 Chrome/98.0.47.58 foo-1.2.3.4.tar.gz 1.2.3.4-beta',
        "upgraded from 1.2.3.4 to 1.2.3.5, versions 91.2.3.4, 91.2.3.5 and 91.2.3.6",
        "1.3.6.1.4.1.311 999.1.1.1 01.02.03.04 see 3.4.5.6",
        "std::vector a::b 10:30:00 x[1::2] arr[::2] 00:11:22:33:44:55 dead::beef ::before",
        "16:27:ac:00:11:22:33:44 x::1",
        "http://127.0.0.1:8000, bind 0.0.0.0:80, [::1]:443, ip ::1 and ::, 127.0.0.53, mask 255.255.255.0",
    ],
    "EMAIL_ADDRESS": [
        "@user foo@ @decorator.x a@b icon@2x.png pkg@1.2.3 git@github.com:a/b.git x @ y.com https://u:p@h.com",
        "ann@nowhere",
        "postgres://app:$DB_PASSWORD@db.internal:5432/app ssh $USER@example.com",
    ],
    "CREDIT_CARD": [
        "4111111111111112 41111111111111111 a4111111111111111 4111111111111111b 0.4111111111111111 1700000000000",
        "4111-1111-1111-1111-1111 00000000-4111-1111-1111-111111111111 4111 1111-1111 1111 490154203237518",
        "ES34 2230 8278 2114 6479 3695",
        "4111.1111.1111.1111.1 9111 1111",
        '{"trace_id": "4348187326759823589", "id": "4111111111111111", "spanId": 4111111111111111}',
        "4348187326759823589",
        '{"ean": "4041000001099"} 4041000001099, bar code 4041000001198, EAN-13: 4111111111111, order 4111111111111111',
    ],
    "IBAN_CODE": [
        "DE89370400440532013001 XX89370400440532013000 DE8937040044053201300 xDE89370400440532013000",
        "be678603-7753-2065-4000-000000000000 and DE89A70400440532013X",
    ],
    "US_SSN": [
        "000-12-3456, 666-12-3456, 123-00-4567, 123-45-0000, 219099999, 1-123-45-6789, 123-45-67890, 912-34-5678",
        "order 123-45-6789, part no. 123-45-6789, phone: 234-45-6789",
        "12 219 09 9999, 219 09 9999 12",
    ],
    "MAC_ADDRESS": ["00:1A:2B:3C:4D:5E:77 00:00:00:00:00:00 1234.5678.9012"],
}


@pytest.mark.parametrize(("entity", "text"), rows(FOUND))
def test_finds(entity: str, text: str) -> None:
    expected = [part.partition("»")[0] for part in text.split("«")[1:]]

    assert found(entity, text.replace("«", "").replace("»", "")) == expected


@pytest.mark.parametrize(("entity", "text"), rows(LEFT))
def test_leaves(entity: str, text: str) -> None:
    assert found(entity, text) == []


@pytest.mark.parametrize("entity", OWN)
def test_what_redaction_left_is_found_as_nothing(entity: str) -> None:
    left = [f"[{name}] [{name}:0123456789012345] [{name}_a1b2c3d4]" for name in ENTITIES]

    assert found(entity, " ".join(left)) == []
    assert found("CREDIT_CARD", "****4111111111111111") == []
    assert found(entity, "card ***************1111, from *******8::1, key: ************abc1") == []


digits = st.text("0123456789", min_size=1)
surroundings = st.sampled_from(
    [
        "{}",
        " {} ",
        "({})",
        '"{}"',
        "pay {}, now",
        "a: {}.",
        "x\n{}\ny",
        r'{{"v": "{}"}}',
        r"a\n{}\nb",
        "<b>{}</b>",
    ]
)


@st.composite
def cards(draw: st.DrawFn) -> str:
    prefix, length = draw(
        st.sampled_from([("4", 16), ("62", 19), ("51", 16), ("2300", 16), ("37", 15), ("6011", 16)])
    )
    number = prefix + draw(
        st.text("0123456789", min_size=length - len(prefix) - 1, max_size=length - len(prefix) - 1)
    )
    number += next(digit for digit in "0123456789" if luhn(number + digit))
    mark = draw(st.sampled_from(["", " ", "-"]))
    sizes = (4, 6, 5) if length == 15 else (4, 4, 4, 4, 3)
    ends = [sum(sizes[:at]) for at in range(len(sizes) + 1)]
    return mark.join(filter(None, (number[a:b] for a, b in pairwise(ends))))


@st.composite
def accounts(draw: st.DrawFn) -> str:
    country, length = draw(
        st.sampled_from([("DE", 22), ("FR", 27), ("NO", 15), ("PL", 28), ("CH", 21)])
    )
    account = draw(st.text("0123456789", min_size=length - 4, max_size=length - 4))
    rest = int("".join(str(int(char, 36)) for char in f"{account}{country}00")) % 97
    whole = f"{country}{98 - rest:02}{account}"
    fours = " ".join(whole[at : at + 4] for at in range(0, length, 4))
    return draw(st.sampled_from([whole, whole.lower(), fours]))


@st.composite
def phones(draw: st.DrawFn) -> str:
    region = draw(st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)))
    kind = draw(
        st.sampled_from(
            [phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.E164]
        )
    )
    number = phonenumbers.example_number(region)
    assert number
    return phonenumbers.format_number(number, kind)


@given(surroundings, cards().filter(lambda number: len(set(number)) > 3))
def test_every_card_is_found_anywhere(around: str, card: str) -> None:
    assert found("CREDIT_CARD", around.format(card)) == [card]


@given(surroundings, accounts())
def test_every_account_is_found_anywhere(around: str, account: str) -> None:
    assert found("IBAN_CODE", around.format(account)) == [account]


@given(surroundings, phones())
def test_every_country_s_numbers_are_found_anywhere(around: str, phone: str) -> None:
    assert found("PHONE_NUMBER", around.format(phone)) == [phone]


PIECES = [
    *(
        "https://a.io/b",
        "ann@example.com",
        "+12125550142",
        "10.0.0.1",
        "219-09-9999",
        "password: ",
        "hunter2!",
        "phone: ",
    ),
    *(
        "4111 1111 1111 1111",
        "DE89370400440532013000",
        "::1",
        "version ",
        ".",
        ",",
        "/",
        "@",
        "\\n",
        '"',
        "-",
        "é",
        "中",
        "\n",
    ),
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=12).map("".join))
def test_nothing_is_found_where_no_gate_opens(text: str) -> None:
    for entity in OWN:
        checked = one_of(entity)
        assert isinstance(checked, CheckedRecognizer)
        spans = list(checked.find(text))
        assert all(0 <= span.start < span.end <= len(text) for span in spans)
        if spans:
            assert any(_gate(gate).search(text) for gate in checked.GATES)


@cache
def _gate(pattern: str) -> Any:
    options = re2.Options()
    options.dot_nl = True
    options.max_mem = 64 << 20
    return re2.compile(pattern, options)


HOSTILE = [
    *(
        ".",
        "1/1/",
        "1-1-",
        "a.a.",
        "a",
        "1",
        "1 ",
        "(1",
        "+1",
        "@",
        "a@",
        "://",
        "http://",
        "a.co/a,b",
        "::",
        "1.1.1.1 ",
    ),
    *(
        "DE89 ",
        "4111 ",
        "020 0000 0958, ",
        "+99 12345678 ",
        "password=",
        "key is ",
        "eyJ",
        "sk-",
        "Bearer ",
        "[",
        "((",
        "****",
    ),
    *("-----BEGIN PRIVATE KEY-----", "://a:", "http://a,b@", "aB3/", "\n", "é@"),
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_grows_with_the_text_whatever_it_is(unit: str) -> None:
    text = (unit * 50_000)[:50_000]
    start = time.process_time()

    for entity in OWN:
        one_of(entity).analyze(text, [entity], None)  # type: ignore[arg-type]

    assert time.process_time() - start < 10


def test_presidio_s_engine_finds_the_same() -> None:
    text = "ann@example.com, https://a.io, call 2125550142, version 1.2.3.4, from 10.0.0.1, password: hunter2!"
    engine = AnalyzerEngine(
        registry=RecognizerRegistry(recognizers=[recognizer(entity) for entity in OWN]),
        nlp_engine=WordEngine(),
        supported_languages=["en"],
    )

    results = engine.analyze(text, language="en", score_threshold=THRESHOLD)

    expected = {(entity, value) for entity in OWN for value in found(entity, text)}
    assert {(r.entity_type, text[r.start : r.end]) for r in results} == expected


@pytest.mark.parametrize("entity", ENTITIES)
def test_every_entity_has_a_recognizer(entity: str) -> None:
    made = recognizer(entity)

    assert made.supported_entities == [entity]
    assert made.supported_language == "en"
    assert made is not recognizer(entity)
    assert ENTITIES[entity]


def test_every_pattern_recognizer_of_presidio_is_known() -> None:
    classes = [
        kind
        for kind in vars(presidio).values()
        if isinstance(kind, type) and issubclass(kind, PatternRecognizer)
    ]

    assert {kind(supported_language="en").supported_entities[0] for kind in classes} <= set(
        ENTITIES
    )  # type: ignore[call-arg]


def test_an_entity_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"no recognizer for PERSON; known are .*US_SSN"):
        recognizer("PERSON")


def test_a_recognizer_that_this_presidio_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(presidio, "UuidRecognizer")

    with pytest.raises(ConfigurationError, match="has no UuidRecognizer"):
        recognizer("UUID")


def test_the_defaults_are_known() -> None:
    assert list(DEFAULT_ENTITIES) == sorted(set(DEFAULT_ENTITIES) & set(OWN))


def test_presidio_s_own_is_taken_when_it_is_given() -> None:
    places = Detector(["URL"], recognizers=[UrlRecognizer()]).find("see main.py")

    assert [(f.start, f.end, f.entity) for f in places] == [(4, 11, "URL")]


def test_json_stays_json() -> None:
    given_ = {"u": "https://a.io/b", "note": "call +12125550142\nann@example.com"}
    text = json.dumps(given_)

    for value in (*found("URL", text), *found("EMAIL_ADDRESS", text), *found("PHONE_NUMBER", text)):
        text = text.replace(value, "[X]")

    assert json.loads(text) == {"u": "[X]", "note": "call [X]\n[X]"}


def test_presidio_is_loaded_when_a_recognizer_is_made() -> None:
    program = (
        "import sys, lg_prod_nodes.detectors.recognizers.catalogue as it; "
        "print('presidio_analyzer' in sys.modules, len(it.ENTITIES) > 80)"
    )

    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert output.stdout.split() == [b"False", b"True"]
