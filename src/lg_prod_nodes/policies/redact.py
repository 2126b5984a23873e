"""Keep personal data and secrets out of models, streams, logs and databases."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import SecretBytes

from lg_prod_nodes.content.clean import Trust
from lg_prod_nodes.content.finality import Reach, reach_of
from lg_prod_nodes.content.ordinary import is_ordinary
from lg_prod_nodes.content.walk import (
    QUICK,
    TakesLong,
    cleaned_errors,
    if_quick,
    rewrite,
    texts,
)
from lg_prod_nodes.core.advice import wrong_choice
from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.errors import ConfigurationError, ContentBlocked, DetectionFailed
from lg_prod_nodes.core.keys import Anonymous, Key, by_thread, key_for
from lg_prod_nodes.core.policy import Policy, Role
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.core.resource import Resource
from lg_prod_nodes.core.secret import SecretKey, key_of
from lg_prod_nodes.detectors import DEFAULT_ENTITIES, Detector, Finding, detector_of
from lg_prod_nodes.detectors.plain import PlainText
from lg_prod_nodes.detectors.recognizers.catalogue import entity_of
from lg_prod_nodes.detectors.recognizers.names import NAME_ENTITIES, load_nlp_engine
from lg_prod_nodes.detectors.replacing import Replacer
from lg_prod_nodes.detectors.stand_ins import StandIns, Strategy
from lg_prod_nodes.stores.vault.store import Session, Vault, restored, tokens_in

if TYPE_CHECKING:
    from lg_prod_nodes.detectors.detector import EntityRecognizer, NlpEngine

T = TypeVar("T")


@dataclass(frozen=True, init=False)
class Redact(Policy):
    """Replaces personal data and secrets wherever content enters or leaves a graph, its nodes, models and tools.

    Acts on a run's input before its first checkpoint, on `update_state` and resume values, on the input and output of
    models and tools, and on everything that nodes return, send, stream or put into the store. Streams are redacted
    piece by piece. Interrupts, exceptions and the caller's metadata are redacted too. Messages keep their shape, id and
    type. A value without findings stays the same object.

    Args:
        *entities: The entities to detect, by name or by LangChain's name (`"email"`). Defaults to `DEFAULT_ENTITIES`:
            cards, e-mail addresses, IBANs, IP addresses, phone numbers, US social security numbers, and secrets such as
            API keys.
        strategy: How to replace a finding: `"redact"` with the entity's name, `"mask"` with stars except for the last
            four characters, `"hash"` with a keyed digest (the same for the same value), `"tokenize"` with a token that
            the vault can reverse. `"block"` refuses the call.
        strategies: Strategies for single entities, by name.
        key: The key of the digests, required for `"hash"`; hexadecimal if given as a `SecretStr`.
        recognizers: Additional recognizers, such as Presidio's `PatternRecognizer`. Each replaces the built-in one for
            its entity.
        threshold: The lowest score that counts as a finding, 0 to 1.
        thresholds: Thresholds for single entities, by name.
        allow: Texts that are not personal data, such as your support address; case and spacing are ignored.
        context: Context words assumed to be near every text, for recognizers that score higher with context.
        nlp_engine: Finds names and places (`PERSON`, `LOCATION`, ...): `"spacy:en_core_web_sm"`, see
            `detectors.names.load_nlp_engine`.
        vault: Stores the originals of tokens, required for `"tokenize"`.
        by: The vault's subject, which owns the tokens: `by_thread`, `by_user` or any function of the call. If a call
            has no thread, its tokens belong to the run.
        anonymous: What to do if a `by` other than `by_thread` returns `None`: `"raise"` an `AnonymousCall` error, since
            the tokens could not be forgotten by subject, or `"share"` to let them belong to the run.
        reveal_to: Names of tools that receive the originals instead of tokens.
        detector_down: What to do if a recognizer cannot scan a text: `"raise"` a `DetectionFailed` error, or `"admit"`
            the text with the findings of the other recognizers replaced.

    Raises:
        ContentBlocked: An entity with the strategy `"block"` was found.
        DetectionFailed: A recognizer failed or timed out, and `detector_down` is `"raise"`.
        AnonymousCall: `by` returned `None` for a call and `anonymous` is `"raise"`.
        ConfigurationError: While building, if an entity or strategy is unknown, or a key is missing.

    Example:
        ```python
        Redact("EMAIL_ADDRESS", "CREDIT_CARD", strategies={"CREDIT_CARD": "mask"})
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "update", "node", "model", "tool"})
    role: ClassVar[Role | None] = "content"

    entities: tuple[str, ...]
    strategy: Strategy
    strategies: Mapping[str, Strategy] = field(hash=False)
    key: SecretBytes | None = field(repr=False)
    recognizers: tuple[EntityRecognizer, ...]
    threshold: float
    thresholds: Mapping[str, float] = field(hash=False)
    allow: tuple[str, ...] = field(repr=False)
    context: tuple[str, ...]
    nlp_engine: str | NlpEngine | None
    vault: Vault | None
    by: Key
    anonymous: Anonymous
    reveal_to: frozenset[str]
    detector_down: Literal["raise", "admit"]

    def __init__(
        self,
        *entities: str,
        strategy: Strategy = "redact",
        strategies: Mapping[str, Strategy] | None = None,
        key: SecretKey | None = None,
        recognizers: Sequence[EntityRecognizer] = (),
        threshold: float = 0.4,
        thresholds: Mapping[str, float] | None = None,
        allow: Collection[str] = (),
        context: Sequence[str] = (),
        nlp_engine: str | NlpEngine | None = None,
        vault: Vault | None = None,
        by: Key = by_thread,
        anonymous: Anonymous = "raise",
        reveal_to: Collection[str] = (),
        detector_down: Literal["raise", "admit"] = "raise",
    ) -> None:
        own = tuple(
            entity for recognizer in recognizers for entity in recognizer.supported_entities
        )
        chosen = entities or (() if recognizers else DEFAULT_ENTITIES)

        def named(name: str) -> str:
            return name if name in own else entity_of(name)

        vars(self).update(
            entities=(*map(named, chosen), *own),
            strategy=strategy,
            strategies={named(name): each for name, each in (strategies or {}).items()},
            key=None if key is None else SecretBytes(key_of("key", key)),
            recognizers=tuple(recognizers),
            threshold=threshold,
            thresholds={named(name): least for name, least in (thresholds or {}).items()},
            allow=_listed("allow", allow),
            context=_listed("context", context),
            nlp_engine=nlp_engine,
            vault=vault,
            by=by,
            anonymous=anonymous,
            reveal_to=frozenset(_listed("reveal_to", reveal_to)),
            detector_down=detector_down,
        )
        self._check()
        _ = self.detector

    def _check(self) -> None:
        _ = self._stand_ins
        if "tokenize" in self._stand_ins.used and self.vault is None:
            raise ConfigurationError("the strategy 'tokenize' needs vault=Vault(postgres, key=...)")
        if self.reveal_to and self.vault is None:
            raise ConfigurationError("reveal_to needs the strategy 'tokenize', and its vault=...")
        for problem in (
            *wrong_choice("anonymous", self.anonymous, get_args(Anonymous)),
            *wrong_choice("detector_down", self.detector_down, ("raise", "admit")),
        ):
            raise ConfigurationError(problem)
        for name, given in (("strategy", self.strategies), ("threshold", self.thresholds)):
            if stray := set(given) - set(self.entities):
                raise ConfigurationError(
                    f"a {name} is given for {', '.join(sorted(stray))}, which is not looked for"
                )

    @cached_property
    def detector(self) -> Detector:
        """The detector that finds the entities."""
        further = self.recognizers or self.thresholds or self.allow or self.context
        if not (further or self.nlp_engine):
            return detector_of(self.entities, self.threshold)
        return Detector(
            self.entities,
            recognizers=self.recognizers,
            threshold=self.threshold,
            thresholds=self.thresholds,
            allow=self.allow,
            context=self.context,
            nlp_engine=load_nlp_engine(self.nlp_engine) if self.nlp_engine else None,
        )

    @cached_property
    def _stand_ins(self) -> StandIns:
        key = None if self.key is None else self.key.get_secret_value()
        return StandIns(self.strategy, self.strategies, key)

    @cached_property
    def _reach(self) -> Reach:
        names = bool(self.nlp_engine) and not set(self.entities).isdisjoint(NAME_ENTITIES)
        return reach_of(self.entities, self.recognizers, sentences=names)

    @cached_property
    def _plain(self) -> PlainText:
        return PlainText(self.entities if not (self.recognizers or self.context) else {"ANY"})

    @cached_property
    def _trust(self) -> Trust:
        return Trust()

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The detector, and the vault if there is one."""
        return (self.detector,) if self.vault is None else (self.detector, self.vault)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Clean the input, the result, exceptions, and everything streamed or stored in between."""
        tokens = None if self.vault is None else await self._session(self.vault, call)
        replacer = self.replacer(call, tokens)
        try:
            with cleaned_errors(replacer.change):
                given = call.input
                if not self._trust.holds(call, self):
                    given = await self._clean(call, replacer, tokens, given)
                    self._trust.note(call, self, given)
                inner = call.replace(input=given, texts=call.texts.passing(replacer))
                if self.vault is not None:
                    inner = await self._revealing(self.vault, inner)
                return await self._clean(call, replacer, tokens, await handler(inner))
        finally:
            if replacer.found:
                self._tell(call, replacer)
            if tokens is not None:
                await self._keep(call, tokens)

    def replacer(self, call: Call | None = None, tokens: Session | None = None) -> Replacer:
        """Return a replacer of findings in texts, whole or piece by piece; it emits to the call, if one is given."""
        return Replacer(
            partial(self._find, call),
            partial(self._stand_ins.make, tokens),
            self._reach,
            self._stand_ins.blocks,
            self._plain,
        )

    def restore(self, value: T, subject: str) -> T:
        """Return a value with a subject's tokens replaced by their originals. Forgotten tokens stay.

        Args:
            value: A text, a message, a state, or any other value that `content.rewrite` accepts.
            subject: The owner of the tokens, as returned by `by`, such as the thread's id.

        Raises:
            ConfigurationError: The policy has no vault.
        """
        if self.vault is None:
            raise ConfigurationError(
                "nothing is tokenized here; give strategy='tokenize', vault=..."
            )
        tokens = {token for text in texts(value) for token in tokens_in(text)}
        originals = self.vault.resolve(subject, tokens) if tokens else {}
        return rewrite(value, lambda text: restored(text, originals))

    async def arestore(self, value: T, subject: str) -> T:
        """Like `restore`, off the event loop."""
        return await asyncio.to_thread(self.restore, value, subject)

    async def _clean(
        self, call: Call, replacer: Replacer, tokens: Session | None, value: Any
    ) -> Any:
        if not replacer.blocked and is_ordinary(value, self._plain.is_plain):
            return value
        self._tell(call, replacer)
        cleaned = await self._walk(call, replacer, value)
        while not await self._keep(call, tokens):
            replacer.take()
            cleaned = await self._walk(call, replacer, value)
        self._tell(call, replacer)
        if replacer.blocked:
            await call.refuse(ContentBlocked(replacer.blocked, policy=type(self).__name__))
        return cleaned

    async def _walk(self, call: Call, replacer: Replacer, value: Any) -> Any:
        walk = partial(rewrite, value, clean=call.texts.clean)
        if call.blocking:
            return walk(replacer.change)
        try:
            return walk(if_quick(replacer.change, self.detector.is_known), seconds=QUICK)
        except TakesLong:
            replacer.take()
            return await call.run_blocking(walk, replacer.change)

    def _find(self, call: Call | None, text: str) -> Sequence[Finding]:
        try:
            return self.detector.find(text)
        except DetectionFailed as failed:
            if call is not None:
                call.emit("detection_failed", policy=type(self).__name__)
            if self.detector_down == "raise":
                raise
            return failed.findings

    def _tell(self, call: Call, replacer: Replacer) -> None:
        if found := replacer.take():
            call.emit("content_found", policy=type(self).__name__, found=found)

    async def _session(self, vault: Vault, call: Call) -> Session | None:
        if "tokenize" not in self._stand_ins.used:
            return None
        session = vault.session(self._subject(call))
        if session.key is None:
            await call.run_blocking(vault.load, session)
        return session

    def _subject(self, call: Call) -> str:
        """Return the owner of a call's tokens: the run, if the call has no thread."""
        anonymous: Anonymous = "share" if self.by is by_thread else self.anonymous
        return key_for(call, self.by, anonymous=anonymous, policy="Redact") or call.run.id

    async def _keep(self, call: Call, tokens: Session | None) -> bool:
        if self.vault is None or tokens is None or not tokens.pending:
            return True
        return await call.run_blocking(self.vault.keep, tokens)

    async def _revealing(self, vault: Vault, call: Call) -> Call:
        """Return the call with the originals of the tokens in its input, if it is a tool in `reveal_to`."""
        if call.kind != "tool" or call.name not in self.reveal_to:
            return call
        found = {token for text in texts(call.input) for token in tokens_in(text)}
        originals = await call.run_blocking(vault.resolve, self._subject(call), found)
        return call.replace(texts=call.texts.revealing(originals))


def _listed(name: str, given: Collection[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise ConfigurationError(f"{name} is a text; give a list of texts")
    return tuple(given)
