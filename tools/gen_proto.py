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
    protos = sorted(
        str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto").rglob("*.proto")
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        run(
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out=relax_strict_optional_primitives:{out}",
            f"--mypy_grpc_out={out}",
            *protos,
        )
        run(
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={out / DESCRIPTOR_SET}",
            *protos,
        )
        replace_stubs(out)
    print(f"{len(protos)} protos -> {STUBS.relative_to(ROOT)}")
    return 0


def run(*arguments: str) -> None:
    wellknown = resources.files("grpc_tools") / "_proto"
    includes = [f"-I{ROOT / 'proto'}", f"-I{ROOT / 'third_party'}", f"-I{wellknown}"]
    scripts = Path(sys.executable).parent
    plugins = [
        f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    if protoc.main(["protoc", *includes, *plugins, *arguments]) != 0:
        sys.exit("protoc failed")


def replace_stubs(out: Path) -> None:
    for old in STUBS.glob("*_pb2*"):
        old.unlink()
    for path in sorted((out / "llmservice" / "v1").iterdir()):
        if "_pb2_grpc" in path.name and not path.name.split("_pb2")[0].endswith("_service"):
            continue  # protoc writes an empty one for a file without a service
        text = SIBLING_IMPORT.sub("from . import ", path.read_text())
        if "llmservice.v1 import" in text:
            sys.exit(f"{path.name}: an import was not rewritten")
        (STUBS / path.name).write_text(text)
    (STUBS / DESCRIPTOR_SET).write_bytes((out / DESCRIPTOR_SET).read_bytes())


if __name__ == "__main__":
    sys.exit(main())
