"""The service without HTTP: jobs, folders, processes and housekeeping, put together."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import MediaError, PersonaTalkError
from ..pipeline.options import DubOptions, WeightPaths
from ..utils.files import DISK_FULL
from ..utils.processes import RayWorker, WorkerProcess, ray_cluster
from .dispatcher import Dispatcher, Lane, Worker
from .folders import JobFolders
from .form import JobFields, chosen_options, dub_options
from .housekeeping import Housekeeping
from .intake import Intake, Upload
from .jobs import Job, JobRequest, JobStore, new_id
from .options import ServiceOptions
from .tasks import Task, run_task
from .tokens import Tokens
from .webhook import Webhook, read_secret


class NotFoundError(PersonaTalkError):
    """A client has no such job."""


class Service:
    """The service: use it in a `with` block, in which jobs run.

    Args:
        options: Options of the service.
        defaults: The operator's choices for dubs.
        weights: The trained parts.
        new_worker: Starts a process that works on tasks; by default one of this machine.

    Raises:
        PersonaTalkError: A file cannot be read, or the folder of the jobs cannot be used.
    """

    def __init__(
        self,
        options: ServiceOptions,
        defaults: DubOptions | None = None,
        weights: WeightPaths | None = None,
        new_worker: Callable[[], Worker] | None = None,
    ) -> None:
        self.options, self.defaults, self.weights = options, defaults or DubOptions(), weights or WeightPaths()
        self.tokens = Tokens.read(options.tokens)
        self.webhook = None
        if options.webhook is not None and options.webhook_secret is not None:
            self.webhook = Webhook(options.webhook, read_secret(options.webhook_secret))
        self._new_worker = new_worker
        self._exit = ExitStack()

    def __enter__(self) -> Service:
        """Take the folder, and let jobs run: those that a server which was killed has left go on.

        Raises:
            PersonaTalkError: The folder cannot be used, or there is no such Ray cluster.
        """
        root = self.options.data_folder
        self.folders = JobFolders(root / "jobs")
        self.intake = Intake(self.folders, self.options)
        lock = FileLock(root / "server.lock", blocking=False)
        try:
            self._exit.enter_context(lock)
        except Timeout:
            raise PersonaTalkError(f"{root}: another server uses this folder; name another with --data") from None
        try:
            self._start(root)
        except BaseException:
            self._exit.close()
            raise
        return self

    def _start(self, root: Path) -> None:
        self.store = JobStore(root / "jobs.sqlite")
        self._exit.callback(self.store.close)
        self.store.requeue()
        self.folders.sweep(self.store.ids())
        seconds, limits = 60 * self.options.limits.job_minutes, self.options.limits
        dubs, slots = self._dub_workers()
        lanes = [
            Lane(self.store, ["dub"], slots, dubs, self.task_of, seconds),
            # What is only looked at does not wait for dubs.
            Lane(self.store, ["faces", "verify"], 1, self._new_worker or self._process, self.task_of, seconds),
        ]
        self.dispatcher = Dispatcher(lanes)
        self.housekeeping = Housekeeping(self.store, self.folders, 3600 * limits.keep_hours, self.webhook)
        for thread in (self.dispatcher, self.housekeeping):
            self._exit.callback(thread.stop)
            thread.start()

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def _dub_workers(self) -> tuple[Callable[[], Worker], int]:
        """Return what starts a process that dubs, and how many there may be."""
        if self._new_worker is not None or self.options.ray is None:
            return self._new_worker or self._process, self.options.workers
        workers = self.options.workers if self.options.ray == "local" else None
        ray = self._exit.enter_context(ray_cluster(self.options.ray, workers))
        work = functools.partial(run_task, self.weights)
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        return (lambda: RayWorker(ray, work)), workers or cores

    def _process(self) -> Worker:
        threads = max(1, (os.cpu_count() or 1) // self.options.workers)
        return WorkerProcess(functools.partial(run_task, self.weights), threads)

    @property
    def is_healthy(self) -> bool:
        """Whether jobs are handed out."""
        return self.dispatcher.is_alive() and self.housekeeping.is_alive()

    # ------------------------------------------------------------------------------------------ jobs

    def create(self, owner: str, form: JobFields, video: Upload | None, speech: Upload | None) -> Job:
        """Put a new job into the queue.

        Args:
            owner: Whose it is.
            form: Its fields.
            video: The video, where it was sent.
            speech: The speech, where it was sent.

        Raises:
            QueueFullError: Too many jobs wait.
            PersonaTalkError: Something is missing or not allowed.
        """
        chosen = chosen_options(form)
        dub_options(self.defaults, chosen, self.options.personas)
        self.intake.check(form, video is not None, speech is not None)
        id = new_id()
        folder = self.folders.of(id)
        try:
            folder.mkdir(mode=0o700)
            if form.video_of is not None:
                shown, video_file = self._link(owner, folder, form.video_of)
            else:
                shown, video_file = self.intake.take(folder, "video", video, form.video_path)
            spoken, speech_file = ("", "")
            if form.kind == "dub":
                spoken, speech_file = self.intake.take(folder, "speech", speech, form.speech_path)
            result = f"result.{form.container}" if form.kind == "dub" else ""
            reference = "".join(c for c in form.reference or "" if c.isprintable())
            request = JobRequest(shown, spoken, video_file, speech_file, result, reference, chosen)
            job = self.store.add(id, owner, form.kind, request, self.options.limits.queue)
        except BaseException as error:
            self.folders.remove(id)
            if isinstance(error, OSError):
                full = "the disk is full" if error.errno in DISK_FULL else error.strerror
                raise MediaError(f"the job's files cannot be kept: {full}") from error
            raise
        self.dispatcher.wake()
        return job

    def _link(self, owner: str, folder: Path, of: str) -> tuple[str, str]:
        """Take the video of another of the client's jobs; see `Intake.take`."""
        other = self.get(of, owner)
        try:
            os.link(self.folders.of(of) / other.request.video_file, folder / other.request.video_file)
        except FileNotFoundError:
            raise NotFoundError(f"{of}: there is no such job any more") from None
        return other.request.video, other.request.video_file

    def get(self, id: str, owner: str) -> Job:
        """Return a client's job.

        Raises:
            NotFoundError: There is none, or it is somebody else's.
        """
        job = self.store.get(id, owner)
        if job is None:
            raise NotFoundError("there is no such job")
        return job

    def cancel(self, id: str, owner: str) -> Job:
        """Cancel a client's job, if it is not over yet.

        Raises:
            NotFoundError: There is none.
        """
        self.get(id, owner)
        self.store.ask_cancel(id)
        self.dispatcher.wake()
        return self.get(id, owner)

    def delete(self, id: str, owner: str) -> None:
        """Delete a client's job with all files, as soon as it no longer runs.

        Raises:
            NotFoundError: There is none.
        """
        self.get(id, owner)
        self.store.doom(id)
        self.dispatcher.wake()

    def task_of(self, job: Job) -> Task:
        """Return a job as a process needs it.

        Raises:
            PersonaTalkError: What it needs is no longer there.
        """
        folder, request = self.folders.of(job.id), job.request
        options = dub_options(self.defaults, request.options, self.options.personas)
        video, speech, output = (
            folder / name if name else None for name in (request.video_file, request.speech_file, request.result_file)
        )
        assert video is not None
        shown = {str(video): request.video, str(speech): request.speech, str(output): request.result_file}
        shown |= {str(path): Path(path).stem for path in (options.persona, options.style) if path is not None}
        shown.pop("None", None)
        return Task(job.number, job.kind, folder, video, shown, speech, output, options, self.options.limits)
