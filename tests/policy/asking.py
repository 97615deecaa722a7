"""Clients that ask through a facade, in simulated time: what each request shows of the ones before it."""

from attrs import define, field

from facaded.oci.clients import identify
from facaded.oci.requests import Ping, Read
from facaded.policy.asked_again import AskedAgain, Asking, Judgement

DOCKER = "docker/28.5.1 go/go1.24"
CONTAINERD = "containerd/2.1.9"
PODMAN = "containers/5.30.0"
REGCLIENT = "regclient/regctl"

TAG_DIGEST, PLATFORM_DIGEST = ("sha256:" + letter * 64 for letter in "ab")
LAYERS = tuple(f"sha256:{number:064x}" for number in range(6))


@define
class Front:
    """A facade that redirects every request to `main`, but serves clients that asked again and those of `serves_all`.

    `served` has the times of the requests of redirect-safe clients that were served.
    """

    serves_all: bool = False
    table: AskedAgain = field(factory=AskedAgain)
    served: list[float] = field(factory=list)

    def ask(
        self,
        now: float,
        method: str,
        target: Ping | Read,
        user_agent: str = DOCKER,
        address: str = "192.0.2.7",
        first_byte: int | None = 0,
    ) -> Judgement:
        """Send a request, and return how it was judged."""
        asking = Asking.of(address, user_agent, identify(user_agent), method, target, first_byte)
        judgement = self.table.judge(asking, not self.serves_all, now)
        if judgement.asked_again:
            self.served.append(now)
        redirected = not (judgement.asked_again or self.serves_all)
        self.table.note(asking, "second" if judgement.avoided == "main" else "main", redirected, now)
        return judgement
