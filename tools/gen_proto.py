"""Regenerates `llm_service/rpc/stubs` and the descriptor set served by reflection.

protoc writes `from llmservice.v1 import x_pb2`, which does not exist inside our package. All
messages share one proto package, so one regular expression turns those imports into sibling ones.
"""

import re
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parent.parent
STUBS = ROOT / "llm_service" / "rpc" / "stubs"
DESCRIPTOR_SET = "llmservice.binpb"
SIBLING_IMPORT = re.compile(r"^from llmservice\.v1 import ", re.MULTILINE)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        made = generate(Path(folder))
        for old in STUBS.glob("*_pb2*"):
            old.unlink()
        for path in made:
            (STUBS / path.name).write_bytes(path.read_bytes())
    print(f"{len(made)} files -> {STUBS.relative_to(ROOT)}")
    return 0


def generate(out: Path) -> list[Path]:
    """Write into `out` what belongs into the stubs' folder; returns the files."""
    protos = sorted(
        str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto").rglob("*.proto")
    )
    run(
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out=quiet,relax_strict_optional_primitives:{out}",
        f"--mypy_grpc_out=quiet:{out}",
        *protos,
    )
    descriptors = out / "llmservice" / "v1" / DESCRIPTOR_SET
    run(
        "--include_imports", "--include_source_info", f"--descriptor_set_out={descriptors}", *protos
    )
    stubs = stubs_in(descriptors.parent)
    for stub in stubs:
        rewrite_imports(stub)
    return [descriptors, *stubs]


def stubs_in(folder: Path) -> list[Path]:
    """Every stub; protoc also writes an empty `_pb2_grpc` for a file without a service."""
    return sorted(
        path
        for path in folder.glob("*_pb2*")
        if "_pb2_grpc" not in path.name or path.name.split("_pb2")[0].endswith("_service")
    )


def rewrite_imports(stub: Path) -> None:
    text = SIBLING_IMPORT.sub("from . import ", stub.read_text())
    if "llmservice.v1 import" in text:
        sys.exit(f"{stub.name}: an import was not rewritten")
    stub.write_text(text)


def run(*arguments: str) -> None:
    wellknown = resources.files("grpc_tools") / "_proto"
    includes = [f"-I{ROOT / 'proto'}", f"-I{ROOT / 'third_party'}", f"-I{wellknown}"]
    scripts = Path(sys.executable).parent
    plugins = [
        f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    if protoc.main(["protoc", *includes, *plugins, *arguments]) != 0:
        sys.exit("protoc failed")


if __name__ == "__main__":
    sys.exit(main())
