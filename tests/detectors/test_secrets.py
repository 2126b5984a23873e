"""Secrets by their issuers' formats and by where they stand. Values are put together, so that this file holds none."""

from __future__ import annotations

import base64
import json
import random
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lg_prod_nodes.detectors import Detector
from lg_prod_nodes.detectors.recognizers.assigned import names_secret
from lg_prod_nodes.detectors.recognizers.digits import Digits
from lg_prod_nodes.detectors.recognizers.issuers import FORMATS, Format
from lg_prod_nodes.detectors.recognizers.secrets import Secrets
from lg_prod_nodes.detectors.scan.patterns import Expression
from lg_prod_nodes.detectors.scan.prefilter import Prefilter

SECRETS = Secrets()
LETTERS, HEX = string.ascii_letters + string.digits, "0123456789abcdef"
HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256"}').decode().rstrip("=")
WEB_TOKEN = f"{HEADER}.{'eyJzdWIiOiIxIn0'}.{'aB3' * 14}"
BEGIN, END = "-----BEGIN {}PRIVATE KEY-----", "-----END {}PRIVATE KEY-----"


def found(text: str) -> list[str]:
    results = SECRETS.analyze(text, ["SECRET"])
    return [text[r.start : r.end] for r in results]


def some(length: int, alphabet: str = LETTERS, seed: int = 1) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length - 2)) + "a1"


KEYS = {
    "OpenAI": "sk" + "-" + some(48),
    "OpenAI project": "sk" + "-proj-" + some(120),
    "Anthropic": "sk" + "-ant-api03-" + some(93) + "AA",
    "AWS": "AK" + "IA" + some(14, string.ascii_uppercase).upper() + "77",
    "Google": "AI" + "za" + some(35),
    "GitHub": "gh" + "p_" + some(36),
    "GitHub fine-grained": "github" + "_pat_" + some(82),
    "GitLab": "gl" + "pat-" + some(20),
    "Slack": "xo" + "xb-1234567890-" + some(24),
    "Slack webhook": "https://hooks.slack" + ".com/services/T0001/B0001/" + some(24),
    "Discord": "M" + some(23) + "." + some(6) + "." + some(27),
    "Telegram": "123456789:A" + "A" + some(33),
    "Stripe": "sk" + "_live_" + some(24),
    "Stripe restricted": "rk" + "_test_" + some(24),
    "Stripe webhook": "wh" + "sec_" + some(32),
    "Twilio": "S" + "K" + some(32, HEX),
    "SendGrid": "S" + "G." + some(22) + "." + some(43),
    "Mailgun": "key" + "-" + some(32, HEX),
    "npm": "npm" + "_" + some(36),
    "PyPI": "pypi" + "-AgEIcHlwaS5vcmc" + some(100),
    "Hugging Face": "hf" + "_" + some(34),
    "Azure client": some(3) + "8" + "Q~" + some(34),
    "Databricks": "da" + "pi" + some(32, HEX),
    "DigitalOcean": "dop" + "_v1_" + some(64, HEX),
    "Shopify": "shp" + "at_" + some(32, HEX),
    "JSON Web Token": WEB_TOKEN,
}


@pytest.mark.parametrize(
    "around",
    ["{}", 'x = "{}"', "use {}, please.", r'{{"a": "{{\"k\": \"{}\"}}"}}', r"a\n{}\nb", "`{}`"],
)
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_finds_the_keys_of(key: str, around: str) -> None:
    assert found(around.format(key)) == [key]


@pytest.mark.parametrize(
    "text",
    [
        "DB_PASSWORD=«s3cr3t!pw»",
        '"password": "«hunter2»", "api_key": "«a1b2c3d4e5f6»"',
        r'{"args": "{\"password\": \"«hunter2!»\"}"}',
        "password: «hunter22», ok",
        "my password is «Summer2024!»",
        'password = "«correcthorse»"',
        'clientSecret: "«abc123DEF456ghi»"',
        "postgres://user:«p4ss»@host/db and https://u:«Wi11is_833#x»@db",
        "Authorization: Bearer «abcdef1234567890abcd»",
        "Authorization: Basic «dXNlcjpwYXNzd29yZA==»",
        "curl -u admin:«hunter2» http://x",
        f'aws_secret_access_key = "«{some(38)}+/»"',
        f"AccountName=x;AccountKey=«{some(86)}==»;",
        f"TWILIO_ACCOUNT_SID=«{'A' + 'C'}{some(32, HEX)}»",
        "\\nAPI_TOKEN=«aB3dE5fG7h»\\n",
        "password=«Tr0ub4dor&3» DB_PASSWORD=«ab1;cd&ef,gh»",
        "user=a&password=«hunter22»&x=1 and password=«abc123!»,user=x",
        "Server=db;User Id=sa;Password=«P@ss1;w0rd»;Encrypt=true",
        '{"password": «12345678», "passcode": «4711»} password: «12345678»',
        "<password>«hunter2x»</password> <db:password>«S3cret!!»</db:password>",
        "DB_PASSWORD=«CorrectHorseBattery»\n",
        "pass: «hunter2» smtp_pass=«Abc123xyz» mot de passe: «Soleil2024»",
        "Username: ann\nPassword:\n«Hunter2!!x»",
        'if password == "«hunter22»": ...',
        "PASSWORD=«a\\b1cd2e»",
        "https://x/y?token=«abc123DEF456ghi»&z=1",
    ],
)
def test_finds_by_what_stands_before(text: str) -> None:
    expected = [part.partition("»")[0] for part in text.split("«")[1:]]

    assert sorted(found(text.replace("«", "").replace("»", ""))) == sorted(expected)


@pytest.mark.parametrize(
    "text",
    [
        "my password is wrong and the token expired, please send a new secret link",
        "Password must be at least 8 characters. password: required, token: string, secret: none",
        "api_key: <API_KEY> token=${TOKEN} secret: **** password: [SECRET] apiKey={{ key }} password=$PASSWORD",
        "api_key = 'YOUR-API-KEY-2' secret='changeme123' token='xxxx-xxxx-1234'",
        'password = os.environ["DB_PASSWORD"]; token = get_token(user1.id2); secret = settings.SECRET_KEY2',
        "def login(password: str, token: Optional[str] = None) -> bool1: ...",
        "max_tokens: 40960000 tokens=12345678 next_page_token=CAUQAAabc123x primary_key: abc123def456",
        "bearer of good news, Basic auth: see docs, token bucket algorithm",
        "https://example.com/users/42 ssh://git@example.com postgres://user:${PASSWORD}@host postgres://u:***@h",
        "pwd: /srv/ann/x1 monkey: abc123def456 keyboard=qwertz12345",
        "550e8400-e29b-41d4-a716-446655440000 d41d8cd98f00b204e9800998ecf8427e AC0123 SK0123 eyJhbGciOi.x.y",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx sk-learn sk-your-key",
        "Authorization: Basic abcdefg, Authorization: Basic aGVsbG8gd29ybGQ=, Bearer abcdefghijklmnopqrstuvw",
        'password: "abc1234, token, abc12345; password = user.password1x, password=get_it(1)',
        "eyJ!!!!!!!!!.eyJzdWIiOiIxIn0.abc eyJhbGciOiJI.eyJzdWIiOiIxIn0.abc",
        "[SECRET:0123456789abcdef] [API_TOKEN:0123456789abcdef] [SECRET_a1b2c3d4]",
        "password: SecretStr\nlogin(password: String!): S\nstruct Cfg { password: SecretString }",
        "password = sys.argv[2]; token = tokens[0]; this.password = newPassword; password: params[:password]",
        "password: Optional[str] = None, { username, password: userPassword }, val token = session.token1",
        "const token = oauth2.accessToken\nconnect(user=user, password=password1)\nprivate_key: Ed25519PrivateKey",
        "--- PASS: TestLogin1 (0.00s)\nPASS: test_x1.py\n--- PASS: TestToken2 (0.01s)",
        '{"Pass": "TestLogin1", "pass": 120123, "fail": 3}',
        "SELECT 1 WHERE token = :session_token1 AND password = :password1 OR password = @password1 OR token=$1",
        "DB_PASSWORD:\n  valueFrom:\n    secretKeyRef: x\npassword:\n  minLength: 8\npassword: &anchor1x",
        "Username:\nPassword:\nRemember_me_2024",
        "postgres://app:$DB_PASSWORD@db.internal:5432/app http://user:password@host",
        '"password": "Enter your password", "password": "Password must be at least 8 characters"',
        '{"password": "Mot de passe", "password": "Das Passwort 2"}',
        "password: z.string().min(8), password: required|min:8|confirmed, apiKey: process.env.API_KEY2",
        "token: ${{ secrets.TOKEN1 }}, token: !Ref Token1, password: !vault1 |",
        '"NextToken": "abc123DEF456", "ChangeToken": "abcd12f2-46da", publicKeyToken="1fc8b3b9a1e18e3b"',
        "AK" + "IAIOSFODNN7EXAMPLE",
    ],
)
def test_leaves(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "password",
    [
        'a"b\\c99x',
        "Tr0ub4dor&3",
        "pa;ss,w0rd",
        "correct horse battery staple",
        "a dog 99!x",
        "o'kay9\\",
    ],
)
def test_a_password_is_found_whole_however_deep_its_json_is_nested(password: str) -> None:
    text = json.dumps({"password": password, "user": "ann"})
    for _ in range(3):
        (value,) = found(text)
        assert value in text
        text = json.dumps({"arguments": text})
    assert found(f"password={password!r}") == [repr(password)[1:-1]]


def test_a_signed_url_keeps_who_signed_it_and_loses_the_signature() -> None:
    key, proof = "AK" + "IA" + some(14, string.ascii_uppercase).upper() + "77", some(64, HEX)
    signed = (
        f"https://b.s3.amazonaws.com/k?X-Amz-Credential={key}%2F20260101&X-Amz-Signature={proof}"
    )

    assert found(signed) == [proof]
    assert found(f"https://b/k?AWSAccessKeyId={key}&Signature={proof}&Expires=1") == [proof]
    assert found(f"AWS4-HMAC-SHA256 Credential={key}/x, SignedHeaders=host, Signature={proof}") == [
        proof
    ]
    assert found(f"https://a/c?sv=2020&sig={proof}%3D") == [f"{proof}%3D"]
    assert found(f"aws_access_key_id={key}") == [key]


@pytest.mark.parametrize(
    "name", ["password", "api_key", "dbPassword", "client-secret", "token", "PASSWORD2"]
)
def test_names_of_secrets(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize(
    "name", ["user", "key", "next_page_token", "password_hint", "monkey", "max_tokens", ""]
)
def test_other_names(name: str) -> None:
    assert not names_secret(name)


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
def test_a_private_key_is_found_whole(kind: str) -> None:
    block = f"{BEGIN.format(kind)}\n{some(64)}\n{END.format(kind)}"

    assert found(f"key:\n{block}\nthanks") == [block]
    assert found(json.dumps({"k": block})) == [json.dumps(block)[1:-1]]


def test_a_private_key_without_an_end_is_found_to_the_end_of_the_text() -> None:
    block = f"{BEGIN.format('')}\n{some(64)} and more"

    assert found(f"see {block}") == [block]


def test_a_certificate_is_no_secret() -> None:
    assert found("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----") == []


def test_secrets_that_overlap_are_covered_together() -> None:
    text = f"token={KEYS['GitHub']}-tail1"

    assert "".join(sorted(found(text), key=text.index)) == f"{KEYS['GitHub']}-tail1"


def test_a_web_token_has_a_header() -> None:
    other = base64.urlsafe_b64encode(b'{"foo":"HS256"}').decode().rstrip("=")

    assert found(f"{other}.eyJzdWIiOiIxIn0.{'aB3' * 14}") == []


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{form.issuer} {form.begins}")
def test_each_format_can_be_ruled_out_and_has_a_source(form: Format) -> None:
    literal = re.sub(r"\\(.)", r"\1", form.pattern)

    assert form.source.startswith(("https://", "gitleaks ", "GitHub "))
    assert form.near or form.begins
    assert (
        form.near
        or any(part in literal for part in (form.begins, form.begins[:2]))
        or form.begins in ".-"
    )


@given(
    st.sampled_from(sorted(KEYS)),
    st.text(" ,;\n\"'(){}", max_size=5),
    st.text(" ,;\n\"'(){}", max_size=5),
)
def test_keys_are_found_in_any_surroundings(issuer: str, before: str, after: str) -> None:
    assert found(f"{before}{KEYS[issuer]}{after}") == [KEYS[issuer]]


@given(
    st.lists(
        st.sampled_from(
            [
                *KEYS.values(),
                "password=",
                "hunter2!A",
                "Bearer\u00a0",
                "aws ",
                " -u ann:",
                "://a:",
                "@b",
            ]
        )
        | st.text(max_size=4),
        max_size=6,
    ).map("".join)
)
def test_each_gate_opens_where_something_stands_behind_it(text: str) -> None:
    for number, gate in enumerate(SECRETS.GATES):
        if list(SECRETS.find_behind([number], text, Digits(text))):
            assert 0 in Prefilter([Expression(gate, re.DOTALL).ways]).among(text).numbers, gate


@pytest.mark.parametrize("issuer", KEYS)
@pytest.mark.parametrize("around", ["{}", "the key {}, take it", '{{"k": "{}"}}', r"x\n{}\n"])
def test_a_scan_finds_each_key_alone(issuer: str, around: str) -> None:
    text = around.format(KEYS[issuer])

    assert [text[f.start : f.end] for f in Detector(["SECRET"]).find(text)] == found(text)
