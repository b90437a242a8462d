"""A form that came in → a job that waits, or a refusal that leaves nothing behind."""

import json
import shutil
import sqlite3
from contextlib import suppress
from dataclasses import asdict
from importlib import resources
from pathlib import Path

from starlette.exceptions import HTTPException

from mzsr.errors import InputError, one_of
from mzsr.service import names, options, refusals
from mzsr.service.form import JobForm
from mzsr.service.look import Refused
from mzsr.service.server import Server
from mzsr.service.store import Job, QueueFull

WEB = Path(str(resources.files("mzsr.service") / "web"))


def take_in(server: Server, form: JobForm) -> Job:
    """Check a form, look at its picture, and queue it; nothing is left of one that is refused.

    Raises:
        HTTPException: whatever is wrong with it, or with the server.
    """
    values = form.model_dump(exclude={"file", "example", "kernel_file"})
    kernel = form.kernel_file if form.kernel_file and form.kernel_file.filename else None
    if kernel is not None:
        values["kernel_file"] = names.safe(str(kernel.filename))
    try:
        wanted = options.check(values, {name: card for name, (_, card) in server.models.items()})
    except InputError as error:
        raise HTTPException(422, str(error)) from error
    folder = None
    try:
        folder = server.store.incoming()
        name = _receive(form, folder / "input", server.settings.max_bytes)
        place = None
        if kernel is not None:
            place = options.kernel_place(str(wanted.kernel_file))
            with (folder / place).open("wb") as file:
                shutil.copyfileobj(kernel.file, file)
        found = server.pool.look(folder, place)
        if isinstance(found, Refused):
            raise HTTPException(found.status, found.reason)
        wanted.check_target(found["width"], found["height"], found["format"], server.settings.max_result_pixels)
        job = server.store.add(folder, name, found, asdict(wanted), server.settings.queue)
    except InputError as error:
        raise HTTPException(422, str(error)) from error
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise refusals.no_room(why) from error
    except QueueFull:
        raise server.busy() from None
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # it has moved if all went well
    server.counters.received.inc(found["bytes"])
    server.pool.thumbnail(server.store.folder(job.id))
    with suppress(sqlite3.Error):  # it is in the queue, and `keep_alive` fills again
        server.pool.fill()
    return job


def _receive(form: JobForm, path: Path, most: int) -> str:
    """Put the picture of a form, or the example that it names, into a file; return its name."""
    picture = form.file if form.file is not None and (form.file.filename or form.file.size) else None
    if (picture is None) == (form.example is None):
        what = "neither a file nor an example is" if picture is None else "both a file and an example are"
        raise InputError(f"{what} given; send a picture as 'file', or name an example of /api/examples")
    if picture is not None:
        if (picture.size or 0) > most:
            raise HTTPException(
                413, f"the picture has {picture.size:,} bytes; the limit here is {most:,} — send a smaller file"
            )
        with path.open("wb") as file:
            shutil.copyfileobj(picture.file, file, 1 << 20)
        return names.safe(picture.filename or "picture")
    example = one_of("example", form.example, (words["name"] for words in example_words()))
    shutil.copyfile(WEB / "examples" / example, path)
    return example


def example_words() -> list[dict[str, str]]:
    """Return name, title and words of the bundled examples."""
    return json.loads((WEB / "examples" / "examples.json").read_text("utf-8"))
