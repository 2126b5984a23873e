"""Keep personal data and secrets out of models, streams, logs and databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast, get_args

from pydantic import SecretBytes

from lg_prod_nodes.content.clean import Trust
from lg_prod_nodes.content.finality import Reach, reach_of
from lg_prod_nodes.content.location import At, Tool
from lg_prod_nodes.content.misfits import explained_misfits
from lg_prod_nodes.content.ordinary import is_ordinary
from lg_prod_nodes.content.walk import (
    QUICK,
    TakesLong,
    cleaned_errors,
    if_quick,
    rewrite,
)
from lg_prod_nodes.core.advice import did_you_mean, wrong_choice
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
from lg_prod_nodes.detectors.stand_ins import StandIns, Strategies, Strategy
from lg_prod_nodes.stores.vault.restoring import RestoredStream, Restorer
from lg_prod_nodes.stores.vault.store import Session, Vault, restored

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
            the vault can reverse, `"surrogate"` with a value of the same form that belongs to nobody (a valid e-mail
            address, card, IBAN, ...), or a function of the value with what it returns. `"keep"` leaves it, `"block"`
            refuses the call.
        strategies: Strategies for single entities, by name, and for locations: `{"CREDIT_CARD": "mask",
            At(field="email"): "surrogate", At(tool="send_email"): {"EMAIL_ADDRESS": "keep"}}`. A location has priority,
            the first one that applies.
        key: The key of digests and surrogates, required for `"hash"` and `"surrogate"`; hexadecimal if given as a
            `SecretStr`.
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
        reveal_to: Names of tools and nodes that receive the originals instead of tokens, before their input is
            validated.
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
    strategies: Strategies = field(hash=False)
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
        strategies: Strategies | None = None,
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
            strategies={
                _place(name, named): _each(how, named) for name, how in (strategies or {}).items()
            },
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
        of_strategies = (*self._by_entity, *(only for _, only, _ in self._located if only))
        for name, given in (("strategy", of_strategies), ("threshold", self.thresholds)):
            for stray in sorted(set(given) - set(self.entities)):
                raise ConfigurationError(
                    f"a {name} is given for {stray}, which is not looked for; "
                    f"{did_you_mean(stray, self.entities, 'this policy looks for')}"
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
        return StandIns(self.strategy, self._by_entity, self._located, key, self.entities)

    @cached_property
    def _by_entity(self) -> dict[str, Strategy]:
        chosen: Any = self.strategies
        return {name: how for name, how in chosen.items() if isinstance(name, str)}

    @cached_property
    def _located(self) -> tuple[tuple[At, str | None, Strategy], ...]:
        chosen: Any = self.strategies
        return tuple(
            (at, only, strategy)
            for at, how in chosen.items()
            if isinstance(at, At)
            for only, strategy in (how.items() if isinstance(how, Mapping) else [(None, how)])
        )

    @property
    def fields(self) -> frozenset[str]:
        """The state fields that the strategies name."""
        return frozenset(at.field for at, *_ in self._located if at.field is not None)

    @property
    def tools(self) -> frozenset[str]:
        """The tools that the strategies name."""
        return frozenset(at.tool for at, *_ in self._located if at.tool is not None)

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
            with explained_misfits(call.kind, call.name), cleaned_errors(replacer):
                given = call.input
                if not self._trust.holds(call, self):
                    given = await self._cleaned_input(call, replacer, tokens)
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
        replacer = Replacer(
            partial(self._find, call),
            partial(self._stand_ins.make, tokens),
            self._reach,
            self._stand_ins.blocks,
            self._plain,
            shared=self._stand_ins.shared,
            is_located=bool(self._located),
        )
        is_tool = call is not None and call.kind == "tool"
        return replacer.at((Tool(call.name),)) if is_tool and call else replacer

    def restore(self, value: T, subject: str) -> T:
        """Return a value or stream with a subject's tokens replaced by their originals. Forgotten tokens stay.

        Args:
            value: A text, a message, a state, or any other value that `content.rewrite` accepts; or an iterator,
                asynchronous or not, of such values, such as `graph.stream(...)`, where pieces may cut a token.
            subject: The owner of the tokens, as returned by `by`, such as the thread's id.

        Raises:
            ConfigurationError: The policy has no vault.
        """
        if self.vault is None:
            raise ConfigurationError(
                "nothing is tokenized here; give strategy='tokenize', vault=..."
            )
        restorer = Restorer(partial(self.vault.resolve, subject))
        if isinstance(value, Iterator):
            return cast(T, RestoredStream(restorer).items(value))
        if isinstance(value, AsyncIterator):
            return cast(T, RestoredStream(restorer).aitems(value))
        restorer.learn(value)
        return rewrite(value, restorer)

    async def arestore(self, value: T, subject: str) -> T:
        """Like `restore`, off the event loop."""
        return await asyncio.to_thread(self.restore, value, subject)

    async def _cleaned_input(self, call: Call, replacer: Replacer, tokens: Session | None) -> Any:
        cleaned = await self._clean(call, replacer, tokens, call.input)
        self._trust.note(call, self, cleaned)
        return cleaned

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
        # What a location keeps is clean where it is, and not in a model's input.
        walk = partial(rewrite, value, clean=None if self._located else call.texts.clean)
        if call.blocking:
            return walk(replacer)
        try:
            return walk(if_quick(replacer, self.detector.is_known), seconds=QUICK)
        except TakesLong:
            replacer.take()
            return await call.run_blocking(walk, replacer)

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
        """Return the call with the originals of the tokens in its input, if it is a tool or node in `reveal_to`."""
        if call.kind not in ("tool", "node") or call.name not in self.reveal_to:
            return call
        restorer = Restorer(partial(vault.resolve, self._subject(call)))
        originals = await call.run_blocking(restorer.learn, call.input)
        reveal = partial(restored, originals=originals)
        revealed = call.replace(texts=call.texts.revealing(reveal))
        return (
            revealed if call.kind == "tool" else revealed.replace(input=rewrite(call.input, reveal))
        )


def _place(name: Any, named: Callable[[str], str]) -> str | At:
    if not isinstance(name, str | At):
        raise ConfigurationError(
            f"a strategy is given for a {type(name).__name__}; give an entity's name or At(...)"
        )
    return name if isinstance(name, At) else named(name)


def _each(how: Any, named: Callable[[str], str]) -> Any:
    if not isinstance(how, Mapping):
        return how
    return {named(name): strategy for name, strategy in how.items()}


def _listed(name: str, given: Collection[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise ConfigurationError(f"{name} is a text; give a list of texts")
    return tuple(given)
