"""An artifact as Flux's source-controller packs it: directories among the files, a disk's modes, no owner."""

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import PurePosixPath


def pack(files: Mapping[str, bytes], *, executable: frozenset[str] = frozenset(), note: bool = False) -> bytes:
    """`files` in the order of a walk. Directories come first, the root among them, and have no slash at the end.

    With `note` a global header comes first, as an archive that went through `git archive` has it.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        if note:
            tar.pax_headers = {"comment": "0" * 40}
            head = tarfile.TarInfo("pax_global_header").create_pax_global_header(tar.pax_headers)
            out.write(head)
            tar.offset += len(head)
        directories = {str(above) for name in files for above in PurePosixPath(name).parents}
        for name in sorted({*files, *directories}, key=lambda one: () if one == "." else tuple(one.split("/"))):
            info = tarfile.TarInfo(name)
            if name in directories:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            else:
                info.size, info.mode = len(files[name]), 0o755 if name in executable else 0o644
                tar.addfile(info, io.BytesIO(files[name]))
    return gzip.compress(out.getvalue(), 6, mtime=0)
