package relay

import (
	"log/slog"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/attempt"
	"github.com/postern-mail/postern/relay/internal/intake"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
)

// snapshot is a checked configuration, ready to decide. It does not change: a
// session keeps the one it began with, a reload makes another.
type snapshot struct {
	cfg      Config
	calls    callbacks
	rules    *policy.Rules     // who may do what
	routes   *routing.Routes   // where a copy goes
	retry    delivery.Retry    // when it is tried again
	shaping  *shaping          // how much goes where at once
	signer   *intake.Signer    // what is signed
	intake   *intake.Intake    // what takes messages in
	attempts *attempt.Settings // by what they are made
	log      *slog.Logger
}
