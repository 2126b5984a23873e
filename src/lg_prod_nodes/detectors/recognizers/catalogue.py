"""The known entities, and what finds each of them.

Presidio's own recognizers find the entities of most countries. This library has its own recognizers for those that are
common in chats, logs, code and tool calls. They differ from Presidio's as follows:

| entity | also found | not found |
|---|---|---|
| `URL` | ports, user names, IP and single-word hosts after a scheme | file names, attributes, versions, packages, the
  quotes, commas and brackets around a URL, the host of an e-mail address |
| `PHONE_NUMBER` | numbers of all countries after a plus, of fifty in their national form, extensions | bare digits
  that are called an id, or stand in code and JSON without a word such as `phone` before; timestamps, dates |
| `IP_ADDRESS` | | loopback, network masks, versions, chapters, longer dotted runs, slices and paths of code |
| `MAC_ADDRESS` | | parts of longer fingerprints |
| `CREDIT_CARD` | Mastercard's 2-series, 12 and 19 digits, further issuers | other prefixes, mixed marks, digits of
  longer numbers and UUIDs; bare digits that are called an id or a bar code |
| `IBAN_CODE` | lower case, any text after it | accounts without their country's structure, UUIDs |
| `EMAIL_ADDRESS` | hosts such as `corp.internal`, `localhost` | escapes of line breaks before it, passwords in URLs |
| `US_SSN` | sample numbers such as 123-45-6789 | numbers that begin with 9, without a word before |
| `SECRET` | keys, tokens, passwords: `secrets.py`; Presidio has none | |

All run in linear time and need no network. A recognizer passed in `recognizers=` replaces the built-in one for its
entity, so Presidio's own is one import away:

    from presidio_analyzer.predefined_recognizers import UrlRecognizer

    Redact("URL", recognizers=[UrlRecognizer()])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, cast

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.detectors.recognizers.names import NAME_ENTITIES

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer

DEFAULT_ENTITIES = (
    "CREDIT_CARD",
    "EMAIL_ADDRESS",
    "IBAN_CODE",
    "IP_ADDRESS",
    "PHONE_NUMBER",
    "SECRET",
    "US_SSN",
)
"""The default entities for chat text: often present and seldom a false alarm."""

_OWN: Mapping[str, tuple[str, str]] = {
    "CREDIT_CARD": ("numbers.CardNumbers", "number of a payment card"),
    "EMAIL_ADDRESS": ("email.EmailAddresses", "e-mail address"),
    "IBAN_CODE": ("iban.Ibans", "international bank account number"),
    "IP_ADDRESS": ("ip.IpAddresses", "IP address, of version 4 or 6"),
    "MAC_ADDRESS": ("ip.MacAddresses", "hardware address"),
    "PHONE_NUMBER": ("phone.PhoneNumbers", "telephone number"),
    "SECRET": ("secrets.Secrets", "API key, token, private key or password"),
    "URL": ("url.Urls", "web address"),
    "US_SSN": ("numbers.SocialSecurityNumbers", "US social security number"),
}
"""The entities found by this library: module and class, and a description."""

_PRESIDIO: Mapping[str, tuple[str, str]] = {
    "ABA_ROUTING_NUMBER": ("AbaRoutingRecognizer", "routing number of a US bank"),
    "AU_ABN": ("AuAbnRecognizer", "Australian business number"),
    "AU_ACN": ("AuAcnRecognizer", "Australian company number"),
    "AU_MEDICARE": ("AuMedicareRecognizer", "Australian Medicare number"),
    "AU_TFN": ("AuTfnRecognizer", "Australian tax file number"),
    "CA_POSTAL_CODE": ("CaPostalCodeRecognizer", "Canadian postal code"),
    "CA_SIN": ("CaSinRecognizer", "Canadian social insurance number"),
    "CRYPTO": ("CryptoRecognizer", "address of a cryptocurrency wallet"),
    "DATE_TIME": ("DateRecognizer", "date or time"),
    "DE_BSNR": ("DeBsnrRecognizer", "German number of a medical practice"),
    "DE_FUEHRERSCHEIN": ("DeFuehrerscheinRecognizer", "German driving licence"),
    "DE_HANDELSREGISTER": ("DeHandelsregisterRecognizer", "German commercial register number"),
    "DE_HEALTH_INSURANCE": ("DeHealthInsuranceRecognizer", "German health insurance number"),
    "DE_ID_CARD": ("DeIdCardRecognizer", "German identity card"),
    "DE_KFZ": ("DeKfzRecognizer", "German licence plate"),
    "DE_LANR": ("DeLanrRecognizer", "German physician number"),
    "DE_PASSPORT": ("DePassportRecognizer", "German passport"),
    "DE_PLZ": ("DePlzRecognizer", "German postal code"),
    "DE_SOCIAL_SECURITY": ("DeSocialSecurityRecognizer", "German social security number"),
    "DE_TAX_ID": ("DeTaxIdRecognizer", "German tax identification number"),
    "DE_TAX_NUMBER": ("DeTaxNumberRecognizer", "German tax number"),
    "DE_VAT_ID": ("DeVatIdRecognizer", "German value added tax number"),
    "ES_NIE": ("EsNieRecognizer", "Spanish number of a foreigner"),
    "ES_NIF": ("EsNifRecognizer", "Spanish tax number"),
    "ES_PASSPORT": ("EsPassportRecognizer", "Spanish passport"),
    "FI_PERSONAL_IDENTITY_CODE": (
        "FiPersonalIdentityCodeRecognizer",
        "Finnish personal identity code",
    ),
    "IN_AADHAAR": ("InAadhaarRecognizer", "Indian Aadhaar number"),
    "IN_GSTIN": ("InGstinRecognizer", "Indian goods and services tax number"),
    "IN_PAN": ("InPanRecognizer", "Indian permanent account number"),
    "IN_PASSPORT": ("InPassportRecognizer", "Indian passport"),
    "IN_VEHICLE_REGISTRATION": ("InVehicleRegistrationRecognizer", "Indian vehicle registration"),
    "IN_VOTER": ("InVoterRecognizer", "Indian voter identity"),
    "IT_DRIVER_LICENSE": ("ItDriverLicenseRecognizer", "Italian driving licence"),
    "IT_FISCAL_CODE": ("ItFiscalCodeRecognizer", "Italian fiscal code"),
    "IT_IDENTITY_CARD": ("ItIdentityCardRecognizer", "Italian identity card"),
    "IT_PASSPORT": ("ItPassportRecognizer", "Italian passport"),
    "IT_VAT_CODE": ("ItVatCodeRecognizer", "Italian value added tax number"),
    "KR_BRN": ("KrBrnRecognizer", "Korean business registration number"),
    "KR_DRIVER_LICENSE": ("KrDriverLicenseRecognizer", "Korean driving licence"),
    "KR_FRN": ("KrFrnRecognizer", "Korean number of a foreigner"),
    "KR_PASSPORT": ("KrPassportRecognizer", "Korean passport"),
    "KR_RRN": ("KrRrnRecognizer", "Korean resident registration number"),
    "MEDICAL_LICENSE": ("MedicalLicenseRecognizer", "DEA number of a US practitioner"),
    "NG_NIN": ("NgNinRecognizer", "Nigerian national identification number"),
    "NG_VEHICLE_REGISTRATION": ("NgVehicleRegistrationRecognizer", "Nigerian vehicle registration"),
    "PH_PASSPORT": ("PhPassportRecognizer", "Philippine passport"),
    "PH_TIN": ("PhTinRecognizer", "Philippine taxpayer number"),
    "PH_UMID": ("PhUmidRecognizer", "Philippine unified identity number"),
    "PL_PESEL": ("PlPeselRecognizer", "Polish identification number"),
    "SE_ORGANISATIONSNUMMER": ("SeOrganisationsnummerRecognizer", "Swedish organisation number"),
    "SE_PERSONNUMMER": ("SePersonnummerRecognizer", "Swedish personal identity number"),
    "SG_NRIC_FIN": ("SgFinRecognizer", "Singaporean identity number"),
    "SG_UEN": ("SgUenRecognizer", "Singaporean number of an organisation"),
    "TH_TNIN": ("ThTninRecognizer", "Thai national identity number"),
    "TR_LICENSE_PLATE": ("TrLicensePlateRecognizer", "Turkish licence plate"),
    "TR_NATIONAL_ID": ("TrNationalIdRecognizer", "Turkish identification number"),
    "UK_DRIVING_LICENCE": ("UkDrivingLicenceRecognizer", "British driving licence"),
    "UK_NHS": ("NhsRecognizer", "British health service number"),
    "UK_NINO": ("UkNinoRecognizer", "British national insurance number"),
    "UK_PASSPORT": ("UkPassportRecognizer", "British passport"),
    "UK_POSTCODE": ("UkPostcodeRecognizer", "British postcode"),
    "UK_VEHICLE_REGISTRATION": ("UkVehicleRegistrationRecognizer", "British vehicle registration"),
    "US_BANK_NUMBER": ("UsBankRecognizer", "account at a US bank"),
    "US_CLAIM_NUMBER": ("UsClaimNumberRecognizer", "US healthcare claim"),
    "US_DRIVER_LICENSE": ("UsLicenseRecognizer", "US driving licence"),
    "US_HEALTH_INSURANCE_MEMBER_ID": (
        "UsHealthInsuranceMemberIdRecognizer",
        "US health insurance member",
    ),
    "US_ITIN": ("UsItinRecognizer", "US individual taxpayer number"),
    "US_MBI": ("UsMbiRecognizer", "US Medicare beneficiary"),
    "US_NPI": ("UsNpiRecognizer", "US national provider identifier"),
    "US_PASSPORT": ("UsPassportRecognizer", "US passport"),
    "US_PRESCRIPTION_NUMBER": ("UsPrescriptionNumberRecognizer", "US prescription"),
    "US_PRIOR_AUTHORIZATION_NUMBER": (
        "UsPriorAuthorizationNumberRecognizer",
        "US healthcare prior authorization",
    ),
    "US_PROVIDER_TAX_ID": ("UsProviderTaxIdRecognizer", "tax number of a US healthcare provider"),
    "US_REFERRAL_NUMBER": ("UsReferralNumberRecognizer", "US healthcare referral"),
    "UUID": (
        "UuidRecognizer",
        "universally unique identifier, such as the ids of runs and threads",
    ),
    "ZA_COMPANY_REGISTRATION": (
        "ZaCompanyRegistrationRecognizer",
        "South African company registration",
    ),
    "ZA_DRIVER_LICENSE": ("ZaDriverLicenseRecognizer", "South African driving licence"),
    "ZA_ID_NUMBER": ("ZaIdNumberRecognizer", "South African identity number"),
    "ZA_INCOME_TAX_NUMBER": ("ZaIncomeTaxNumberRecognizer", "South African income tax number"),
    "ZA_LICENSE_PLATE": ("ZaLicensePlateRecognizer", "South African licence plate"),
    "ZA_PASSPORT": ("ZaPassportRecognizer", "South African passport"),
    "ZA_TRAFFIC_REGISTER_NUMBER": (
        "ZaTrafficRegisterNumberRecognizer",
        "South African traffic register number",
    ),
    "ZA_VAT_NUMBER": ("ZaVatNumberRecognizer", "South African value added tax number"),
}
"""The entities found by Presidio: its class, and a description."""

ENTITIES: Mapping[str, str] = {
    entity: what for entity, (_, what) in sorted({**_OWN, **_PRESIDIO}.items())
}
"""Every known entity, with a description."""


_ALIASES: Mapping[str, str] = {
    "email": "EMAIL_ADDRESS",
    "credit_card": "CREDIT_CARD",
    "ip": "IP_ADDRESS",
    "mac_address": "MAC_ADDRESS",
    "url": "URL",
}
"""The names that LangChain's `PIIMiddleware` uses."""


def entity_of(name: str) -> str:
    """The entity for one of LangChain's names; other names are returned unchanged."""
    return _ALIASES.get(name, name)


def unknown_entities(names: Iterable[str]) -> str:
    """The error message for names without a recognizer."""
    names = list(names)
    hints = "".join(
        f" {name} needs nlp_engine='spacy:...'." if name == meant else f" Did you mean {meant}?"
        for name in names
        if (meant := _meant(name))
    )
    return (
        f"no recognizer for {', '.join(names)}; known are {', '.join(ENTITIES)}, and with nlp_engine=... "
        f"{', '.join(NAME_ENTITIES)}.{hints} Give your own with recognizers=[PatternRecognizer(...)]"
    )


def _meant(name: str) -> str:
    """The entity with the same words in its name; otherwise the one with the closest spelling."""
    said = set(name.upper().replace(" ", "_").split("_"))
    known = (*DEFAULT_ENTITIES, *NAME_ENTITIES, *ENTITIES)
    close = get_close_matches(name.upper(), known, 1, 0.6)
    return next((each for each in known if said <= set(each.split("_"))), close[0] if close else "")


def recognizer(entity: str) -> EntityRecognizer:
    """A new recognizer of an entity. The first call loads Presidio.

    Raises:
        ConfigurationError: The entity is unknown, or the installed version of Presidio lacks it.
    """
    if entity in _OWN:
        module, _, name = _OWN[entity][0].rpartition(".")
        made = getattr(import_module(f"{__package__}.{module}"), name)()
    elif entity in _PRESIDIO:
        made = _presidio(_PRESIDIO[entity][0])
    else:
        raise ConfigurationError(unknown_entities([entity]))
    return cast("EntityRecognizer", made)


def _presidio(name: str) -> EntityRecognizer:
    from presidio_analyzer import predefined_recognizers

    if (made := getattr(predefined_recognizers, name, None)) is None:
        raise ConfigurationError(f"this version of presidio-analyzer has no {name}; update it")
    return cast("EntityRecognizer", made(supported_language="en"))
