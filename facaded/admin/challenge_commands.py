"""The commands of the control socket with which `facaded check` lets the daemon answer challenges."""

from facaded.admin.control import CommandRefusedError, CommandTable, Parameters
from facaded.admin.protocol import ChallengesAnswered
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.operator_answers import OperatorAnswers
from facaded.tls.server_certificate import UnusableError


class ChallengeCommands:
    """Publishes and withdraws the answers of an operator."""

    def __init__(self, answers: OperatorAnswers) -> None:
        self._answers = answers

    @property
    def table(self) -> CommandTable:
        """The commands by method and path."""
        return {
            ("POST", "/answer-challenge"): self.publish,
            ("POST", "/withdraw-challenges"): self.withdraw,
        }

    def publish(self, parameters: Parameters) -> ChallengesAnswered:
        """Answer a challenge until it is withdrawn, for minutes at most. Refused if it is malformed."""
        try:
            kind = ChallengeKind(parameters.kind)
            self._answers.publish(kind, parameters.name, parameters.token, parameters.key_authorization)
        except (ValueError, UnusableError) as error:
            raise CommandRefusedError(f"challenge not answered: {error}") from None
        return ChallengesAnswered()

    def withdraw(self, _: Parameters) -> ChallengesAnswered:
        """Stop answering all of them."""
        self._answers.withdraw()
        return ChallengesAnswered()
