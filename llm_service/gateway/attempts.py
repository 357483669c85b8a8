"""One upstream attempt: what it saw, and the single record it leaves in the ledger."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from llm_service.domain import estimates
from llm_service.domain.assembly import Assembly
from llm_service.domain.completion import (
    Attempt,
    CallError,
    Completion,
    CompletionFinished,
    CompletionStarted,
    Cost,
    Fallback,
    FinishReason,
    PartDelta,
    StreamEvent,
    TokenUsage,
    UsageUpdate,
    Warning,
)
from llm_service.domain.content import Message, Role
from llm_service.domain.embedding import EmbeddingAnswer
from llm_service.domain.provider import Price
from llm_service.domain.usage import AttemptProgress, OpenedAttempt, UsageRecord
from llm_service.errors import ContentFiltered, GatewayError, ProviderTimeout
from llm_service.gateway import pricing
from llm_service.gateway.call import Call, call_error
from llm_service.gateway.evidence import Evidence
from llm_service.gateway.gates import Admission, Gate, Pass
from llm_service.gateway.ids import new_id
from llm_service.gateway.ledger import Ledger
from llm_service.gateway.spans import told
from llm_service.gateway.targets import Target, identified
from llm_service.gateway.totals import total_cost
from llm_service.providers import base
from llm_service.providers.base import Accepted, AdapterEvent, Answer, Embeddings, Ended
from llm_service.telemetry import AttemptSpan

_PROGRESS_SECONDS = 1.0


class TrackedAttempt:
    """Watches one attempt and settles it exactly once: served, failed, or left by the caller."""

    def __init__(self, call: Call[Any], target: Target, ledger: Ledger, trace_id: str) -> None:
        self._call = call
        self._target = target
        self._ledger = ledger
        self.file: Callable[[UsageRecord], None] = ledger.record
        self.asked: base.Call | None = None  # of a stream
        self._trace_id = trace_id
        self._started = call.now
        self._start_time = datetime.now(UTC)
        self.id = new_id()
        self.served_by = target.served_by()
        self._price: Price | None = call.price(target)
        self._span: AttemptSpan | None = None
        self._warnings: tuple[Warning, ...] = ()
        self.evidence = Evidence(
            call.input_tokens, target.provider.kind, target.model.provider_model
        )
        self._noted = 0.0
        self.accepted = False
        self._committed = False
        self._first_content: float | None = None
        self._assembly = Assembly() if call.keeps_content else None
        self._settled = False
        self._passes: list[Pass] = []
        self._budget_time: datetime | None = None
        self._left_because = ""

    @property
    def handed_over(self) -> bool:
        """Its caller has left it, and it is read on: `drained` settles it."""
        return bool(self._left_because)

    @property
    def caller_ran_out(self) -> bool:
        """As the call's."""
        return self._call.caller_ran_out

    @property
    def settled(self) -> bool:
        return self._settled

    @property
    def output_tokens(self) -> int:
        """Of what has come over, estimated: providers may count only at the end."""
        return estimates.tokens_of(self.evidence.content_bytes)

    async def enter(self, gates: Sequence[Gate]) -> None:
        """Be let through by every gate, as `Gate.enter`; the end gives back what they hold."""
        if not gates:
            return
        admission = Admission(self.id, self._call, self._target, self._price)
        for gate in gates:
            self._passes.append(await gate.enter(admission))
        self._budget_time = admission.budget_time

    async def open(self) -> None:
        """Have it on record before it is dialled; as `Ledger.open`."""
        call = self._call
        opened = OpenedAttempt(
            self.id,
            call.id,
            call.request.attribution,
            self.served_by,
            self._start_time,
            call.operation,
            self._trace_id,
            call.input_tokens(),
            self._price,
            self._budget_time,
        )
        await self._ledger.open(opened)

    def dialled(self, span: AttemptSpan) -> None:
        """It is about to be called."""
        self._span = span
        self._call.dials += 1
        if self._call.first_dial is None:
            self._call.first_dial = self._call.now

    # --- streaming ---

    def pass_on(self, batch: Sequence[AdapterEvent]) -> list[StreamEvent]:
        """What the caller is to see of a batch; nothing until there is content to commit to."""
        out: list[StreamEvent] = []
        for event in batch:
            kind = type(event)
            if kind is PartDelta:
                self.evidence.text(event.text)  # type: ignore[union-attr]
                self._part(event, out)  # type: ignore[arg-type]
            elif kind is Accepted:
                self._accept(event)  # type: ignore[arg-type]
            elif kind is UsageUpdate:
                self.evidence.so_far(event.usage)  # type: ignore[union-attr, arg-type]
                if self._committed:
                    out.append(event)  # type: ignore[arg-type]
            elif kind is Ended:
                self._end(event, out)  # type: ignore[arg-type]
            else:
                self.evidence.event(event)  # type: ignore[arg-type]
                self._part(event, out)  # type: ignore[arg-type]
        if self.accepted and not self._settled:
            self._note_progress()
        return out

    def _note_progress(self) -> None:
        """Tell the ledger, at most once a second, what another would have to settle with."""
        elapsed = self._call.now - self._started
        if elapsed >= self._noted + _PROGRESS_SECONDS:
            self._noted = elapsed
            so_far = AttemptProgress(self.evidence.usage(), elapsed)
            self._ledger.progress(self.id, so_far)

    def _accept(self, event: Accepted) -> None:
        self.accepted = True
        self.evidence.shown = event.shown
        self._identify(event.provider_model, event.provider_request_id)
        self._warnings = event.warnings

    def _identify(self, provider_model: str, provider_request_id: str = "") -> None:
        if provider_model or provider_request_id:
            self.served_by = identified(self.served_by, provider_model, provider_request_id)

    def _part(self, event: StreamEvent, out: list[StreamEvent]) -> None:
        if not self._committed:
            self._commit(out)
        if self._assembly is not None:
            self._assembly.add(event)  # type: ignore[arg-type]
        out.append(event)

    def _commit(self, out: list[StreamEvent]) -> None:
        self._committed = True
        call = self._call
        if call.restart_from is not None:
            out.append(Fallback(call.restart_from, self.served_by))
            call.restart_from = None
        else:
            failed = tuple(call.attempts)
            out.append(CompletionStarted(call.id, self.served_by, failed, call.create_time))
        self._content_arrived()
        call.content_sent = True

    def _content_arrived(self) -> None:
        now = self._call.now
        self._first_content = now - self._started
        if self._call.first_content is None:
            self._call.first_content = now
        if self._span is not None:
            self._span.first_chunk(self._first_content)

    def _end(self, event: Ended, out: list[StreamEvent]) -> None:
        self._identify(event.provider_model)
        self.evidence.last_word(event.usage)
        if not self._committed:
            self._pass_on_filtered(event.finish_reason)
            self._commit(out)
        parts = self._assembly.parts() if self._assembly is not None else ()
        message = Message(Role.ASSISTANT, parts)
        completion = self._serve(message, event)
        out.append(CompletionFinished(completion, self._assembly is not None))

    # --- whole answers ---

    def answered(self, answer: Answer) -> Completion:
        """Settle as served."""
        self._hear_answer(answer)
        self._pass_on_filtered(answer.finish_reason)
        return self._serve(Message(Role.ASSISTANT, answer.parts), answer)

    def _hear_answer(self, answer: Answer) -> None:
        self._identify(answer.provider_model, answer.provider_request_id)
        self._warnings = answer.warnings
        self.evidence.last_word(answer.usage)
        if answer.usage is None:
            self.evidence.parts(answer.parts)

    def _pass_on_filtered(self, finish_reason: FinishReason) -> None:
        """Raise `ContentFiltered` where another target is to answer instead of a filter."""
        if self._call.passes_on(finish_reason):
            raise ContentFiltered("a filter of the provider struck the answer")

    # --- embeddings ---

    def embedded(self, answer: Embeddings) -> EmbeddingAnswer:
        """Settle as served."""
        self.evidence.last_word(answer.usage)
        usage, attempts = self._served(None)
        return EmbeddingAnswer(
            id=self._call.id,
            vectors=answer.vectors,
            usage=usage,
            cost=total_cost(attempts),
            served_by=self.served_by,
            attempts=attempts,
            warnings=(*self._call.warnings(), *answer.warnings),
        )

    def answered_by(self, answer: Embeddings) -> None:
        """Note what is known of an answer that is still to be looked at."""
        self.accepted = True
        self.evidence.last_word(answer.usage)
        self._identify(answer.provider_model)

    # --- settling ---

    def _served(self, finish_reason: FinishReason | None) -> tuple[TokenUsage, tuple[Attempt, ...]]:
        """What was used, and every attempt with this one as the last."""
        usage = self.evidence.usage()
        attempt = self._settle(usage, self.cost(usage), None, finish_reason)
        if self._span is not None:
            told(self._span, self.served_by, usage, finish_reason)
        return usage, (*self._call.attempts[:-1], attempt)

    def _serve(
        self,
        message: Message,
        end: Ended | Answer,
    ) -> Completion:
        call = self._call
        usage, attempts = self._served(end.finish_reason)
        return Completion(
            id=call.id,
            message=message,
            finish_reason=end.finish_reason,
            provider_finish_reason=end.provider_finish_reason,
            usage=usage,
            cost=total_cost(attempts),
            served_by=self.served_by,
            attempts=attempts,
            timings=call.timings(),
            create_time=call.create_time,
            content_filter=end.content_filter,
            warnings=(*call.warnings(), *self._warnings),
            provider_finish_message=end.provider_finish_message,
        )

    def broken_off(self, leaving: BaseException, *, taken: bool = False) -> None:
        """Settle by what ended it early. `taken`: somebody reads on, and `drained` settles it."""
        if taken:
            self._left_because = self._call.left_because
            if self._span is not None:
                self._span.failed(self._left_because)
        elif isinstance(leaving, GatewayError):
            self.failed(leaving)
        else:
            self.gone(leaving)

    def gone(self, leaving: BaseException) -> None:
        """Settle as left by the caller, or by a bug of ours, unless somebody reads on."""
        if not self.handed_over:
            here = isinstance(leaving, Exception)
            self.left("INTERNAL" if here else self._call.left_because)

    def hear(self, heard: Sequence[AdapterEvent] | Answer | Embeddings) -> None:
        """Note what came for a caller who is gone."""
        if isinstance(heard, Answer):
            self._hear_answer(heard)
        elif isinstance(heard, Embeddings):
            self.answered_by(heard)
        else:
            for event in heard:
                self.evidence.hear(event)
                if isinstance(event, Accepted):
                    self._accept(event)
                elif isinstance(event, Ended):
                    self._identify(event.provider_model)
            self._note_progress()

    def drained(self, failure: GatewayError | None) -> None:
        """Settle as left by the caller back then; `failure`: the answer did not end properly."""
        self.left(self._left_because, failure)

    def failed(self, error: GatewayError) -> None:
        """Settle as failed, unless it is settled, or somebody reads on."""
        if self.handed_over:
            return
        if isinstance(error, ProviderTimeout) and self._call.caller_ran_out:
            self.left(self._call.left_because)
        usage = self._known_usage(error)
        cost = self.cost(usage) if usage else None
        self._settle(usage, cost, call_error(error), None)

    def left(self, reason: str, failure: GatewayError | None = None) -> None:
        """Settle as given up on by the caller (or by a bug of ours), unless it is settled.

        `failure`: what became of the answer afterwards.
        """
        usage = self._known_usage(failure)
        cost = self.cost(usage) if usage else None
        self._settle(usage, cost, CallError(reason, "the call ended before the answer did"), None)
        if self._span is not None:
            self._span.failed(reason)

    def _known_usage(self, failure: GatewayError | None) -> TokenUsage | None:
        """What was used; None when the provider was never asked, or refused."""
        # A status is a refusal: the provider looked at the call and did not work on it.
        in_vain = failure is not None and (failure.http_status > 0 or not failure.may_have_cost)
        if in_vain and failure and failure.used_tokens and not self.evidence.told:
            self.evidence.last_word(TokenUsage(failure.used_tokens))
        idle = self._span is None or (in_vain and not self.accepted)
        return None if idle and not self.evidence.told else self.evidence.usage()

    def cost(self, usage: TokenUsage) -> Cost:
        return pricing.cost_of(usage, self._price)

    def _settle(
        self,
        usage: TokenUsage | None,
        cost: Cost | None,
        error: CallError | None,
        finish_reason: FinishReason | None,
    ) -> Attempt:
        call = self._call
        if self._settled:
            return call.attempts[-1]
        self._settled = True
        duration = call.now - self._started
        attempt = Attempt(self.served_by, self._start_time, duration, error, usage, cost)
        call.attempts.append(attempt)
        record = UsageRecord(
            new_id(),
            call.id,
            call.request.attribution,
            attempt,
            datetime.now(UTC),
            finish_reason,
            error.reason if error else "",
            self._trace_id,
            self._first_content,
            call.operation,
            self.evidence.source if usage else None,
            self.id,
            self._budget_time,
        )
        try:
            self.file(record)
        finally:  # a place that is lost is lost for as long as the process lives
            for held in self._passes:
                held.settled(record)
        return attempt
