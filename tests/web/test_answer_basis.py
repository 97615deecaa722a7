"""What answers are based on: the ways that are kept lead where a decision does."""

from hypothesis import given
from hypothesis import strategies as st

from facaded.oci.clients import identify
from facaded.policy.decision import BackendRules, Mode, Route, RoutingState, Rules, decide
from facaded.policy.health import Rank
from facaded.policy.repositories import parse, parse_rename
from facaded.web.answer_basis import WAYS, AnswerBasis, ClientRequest
from facaded.web.request_head import HeaderFields, Origin, RequestHead

DIGEST = "sha256:" + "0" * 64
USER_AGENTS = ("docker/28.0", "containerd/2.1", "buildkit/0.20", "regclient/1", "skopeo/1.22", "containerd/1.4.3", "")
HOSTS = (b"facade.test", b"facade.test:5000", b"other.test")
TARGETS = (
    "/v2/",
    *(
        f"/v2/{name}/{rest}"
        for name in ("org/app", "org/other", "team/app", "none/app")
        for rest in (
            "manifests/latest",
            "manifests/1.0?ns=x&a=b",
            f"manifests/{DIGEST}",
            f"manifests/sha256-{'0' * 64}.sig",
            f"blobs/{DIGEST}",
            "tags/list",
            f"referrers/{DIGEST}",
        )
    ),
)
ORIGIN = Origin("192.0.2.7", is_secure=False)
FIELDS = {(host, agent): HeaderFields(host, agent, identify(agent)) for host in HOSTS for agent in USER_AGENTS}

RULES = st.builds(
    Rules,
    hosts=st.sampled_from([(), ("facade.test",)]),
    repositories=st.just((parse("org/*"), parse("team/*"))),
    backends=st.sampled_from(
        [
            {"main": BackendRules("https://main.test"), "second": BackendRules("https://second.test")},
            {
                "main": BackendRules("https://main.test", (parse_rename("org/app", "other/app"),)),
                "second": BackendRules("https://second.test"),
            },
        ]
    ),
    named_routes=st.sampled_from([(), (Route(("second", "main"), (parse("team/*"),)),)]),
    mode=st.sampled_from(Mode),
    merge_referrers=st.booleans(),
)
BACKENDS = st.sampled_from(["main", "second"])
ROUTINGS = st.builds(
    RoutingState,
    redirecting=st.tuples(BACKENDS, BACKENDS),
    serving=st.tuples(BACKENDS, BACKENDS),
    handover=st.booleans(),
    pinned=st.sampled_from([None, "main"]),
    ranks=st.sampled_from([{}, {"main": Rank.DOWN}, {"main": Rank.DOWN, "second": Rank.DOWN}]),
    resting=st.sampled_from([frozenset[str](), frozenset({"second"})]),
)


@given(RULES, ROUTINGS, st.sampled_from(HOSTS), st.sampled_from(USER_AGENTS), st.permutations(TARGETS))
def test_every_answer_is_the_one_that_is_decided(
    rules: Rules, routing: RoutingState, host: bytes, agent: str, targets: list[str]
) -> None:
    basis, fields = AnswerBasis(rules, routing, {}), FIELDS[host, agent]
    for target in [*targets, *targets]:
        parsed = ClientRequest.read(RequestHead(b"GET", target.encode(), fields), ORIGIN)
        decided = decide(parsed.head.parsed, host.decode(), fields.client, rules, routing)
        answer = basis.decide(parsed)
        assert answer == decided
        assert getattr(answer, "need", None) is getattr(decided, "need", None), "which does not count for equality"


def test_few_ways_are_kept() -> None:
    rules = Rules(backends={"main": BackendRules("https://main.test")})
    basis = AnswerBasis(rules, RoutingState(("main",), ("main",)), {})
    for number in range(2 * WAYS):
        agent = f"containerd/2.{number}"
        fields = HeaderFields(b"x" * 1000 + b"%d" % number, agent, identify(agent))
        basis.decide(ClientRequest.read(RequestHead(b"GET", b"/v2/org/app/manifests/latest", fields), ORIGIN))
    assert 0 < len(basis._ways) <= WAYS
    assert len(repr(basis._ways)) < 500 * WAYS, "no Host header that anybody may have made up"
