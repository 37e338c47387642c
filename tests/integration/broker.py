"""A real Kafka broker for tests: deploy/kafka/run.sh on free ports, which a test may kill and start again."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

RUN = Path(__file__).parents[2] / "deploy" / "kafka" / "run.sh"
READY_WITHIN_S = 60
STOPPED_WITHIN_S = 20


def fetch() -> None:
    """Get the broker's jars, once a checkout. Slow the first time, so no part of any broker's start."""
    subprocess.run([RUN, "--fetch"], check=True, timeout=300)


class Broker:
    """One node on loopback. Address and data stay the same over `restart`; `kill` is kill -9.

    Beside the one in plain text at `bootstrap` it has a listener for each of these security protocols, at its address
    in `listeners`; `properties` say how they are secured.
    """

    def __init__(
        self, folder: Path, listeners: Sequence[str] = (), properties: Sequence[str] = (), *, lives_long: bool = False
    ) -> None:
        # Of what a broker of a few minutes costs, two fifths would be the second compiler's work and the collector's.
        briefly = {} if lives_long else {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
        self._environ = os.environ | briefly
        self._log = folder / "broker.log"
        port, controller_port, *others = free_ports(2 + len(listeners))
        self.bootstrap = f"127.0.0.1:{port}"
        self.listeners = {name: f"127.0.0.1:{other}" for name, other in zip(listeners, others, strict=True)}
        ports = ["--port", str(port), "--controller-port", str(controller_port)]
        self._command = [str(RUN), *ports, "--data", str(folder / "data")]
        if listeners:
            open_to_all = {"PLAINTEXT": self.bootstrap} | self.listeners
            advertised = ",".join(f"{name}://{address}" for name, address in open_to_all.items())
            protocols = ",".join(f"{name}:{name}" for name in open_to_all)
            more = folder / "more.properties"
            more.write_text(
                f"listeners={advertised},CONTROLLER://127.0.0.1:{controller_port}\n"
                f"advertised.listeners={advertised}\n"
                f"listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT\n" + "\n".join(properties)
            )
            self._command += ["--config", str(more)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Block until the broker answers; raise with the tail of its log if it does not."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environ, stdout=log, stderr=subprocess.STDOUT)
        admin = self._admin()
        deadline = time.monotonic() + READY_WITHIN_S
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                admin.list_topics(timeout=1)
            except KafkaException:
                continue
            return
        self.kill()
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
        raise RuntimeError(f"the broker is not up; its log ends:\n{tail}")

    def stop(self) -> None:
        """Shut down in good order, or by force when that takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def sleep(self) -> None:
        """SIGSTOP: it keeps its connections and answers nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop if it still runs, then start on the same address and data."""
        self.stop()
        self.start()

    def create_topics(self, *names: str, partitions: int) -> None:
        """Make the topics; a name that exists raises."""
        admin = self._admin()  # named, since its futures fail once it is gone
        for made in admin.create_topics([NewTopic(name, partitions, 1) for name in names]).values():
            made.result()

    def _admin(self) -> AdminClient:
        # Says nothing on stderr: refused connections are what waiting for a start looks like.
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})


def free_ports(number: int) -> list[int]:
    """Ports free a moment ago, all different: each stays bound until the last was found."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
