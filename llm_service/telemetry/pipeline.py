"""What spans and metrics go into, whoever reads them."""

from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.metrics import Meter
from opentelemetry.trace import Tracer


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A tracer if anybody reads spans, a meter, and how to stop what stands behind them."""

    tracer: Tracer | None
    meter: Meter
    closers: tuple[Callable[[], object], ...] = ()

    def stop(self) -> None:
        """Flush and close. Blocks until the exporters answer or their time is up."""
        for close in self.closers:
            close()
