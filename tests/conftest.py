"""What tests share: the real data where it is, and one pair of worker processes for the whole session."""

import os
import socket
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: each takes one, and so do those that it starts
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is first imported; without it, it asks a network that is not there again and again

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from leaven import cli


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """Nothing is fetched: only this machine can be reached."""
    look_up, reached = socket.getaddrinfo, (None, "", "localhost", "127.0.0.1", "::1", socket.gethostname())

    def local(host, *arguments, **keywords):
        if host not in reached:
            raise socket.gaierror(socket.EAI_NONAME, f"tests have no network: {host}")
        return look_up(host, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", local)
        yield


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets: LEAVEN_TEST_DATA, else shared/data beside the repository."""
    root = Path(os.environ.get("LEAVEN_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"the real data sets are not at {root}; set LEAVEN_TEST_DATA to their folder")
    return root


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `leaven ...` in this process: (status, standard output, standard error)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["leaven", *map(str, words)])
        try:
            cli.main()
            status = 0
        except SystemExit as exit:
            status = exit.code or 0
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def _serve(rank: int, meeting: str, tasks, answers) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    while (task := tasks.get()) is not None:
        function, arguments = task
        try:
            answers.put((rank, None, function(*arguments)))
        except BaseException as error:
            answers.put((rank, f"{type(error).__name__}: {error}", None))
    dist.destroy_process_group()


class Pair:
    """Two processes of one gloo group; `run` calls a module-level function in both and gives both answers."""

    def __init__(self, meeting: Path):
        context = mp.get_context("spawn")
        self.tasks, self.answers = [context.Queue(), context.Queue()], context.Queue()
        self.workers = [context.Process(target=_serve, args=(rank, str(meeting), self.tasks[rank], self.answers), daemon=True) for rank in (0, 1)]
        for worker in self.workers:
            worker.start()

    def run(self, function, *arguments):
        for tasks in self.tasks:
            tasks.put((function, arguments))
        found = {}
        for _ in range(2):
            rank, error, value = self.answers.get(timeout=120)
            if error is not None:
                raise RuntimeError(f"process {rank}: {error}")
            found[rank] = value
        return found[0], found[1]

    def close(self) -> None:
        for tasks in self.tasks:
            tasks.put(None)
        for worker in self.workers:
            worker.join(timeout=10)


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """Starting processes takes seconds, so one pair serves the whole session."""
    made = Pair(tmp_path_factory.mktemp("pair") / "meeting")
    yield made
    made.close()
