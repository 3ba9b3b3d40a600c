package relay

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/intake"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/spool"
)

// newSnapshot checks a configuration and reports every fault at once.
func (r *Relay) newSnapshot(cfg Config) (*snapshot, error) {
	var f faults
	p := &snapshot{cfg: cfg, calls: r.calls, log: logger(cfg)}
	cfg.checkOwn(&f)
	cfg.checkNil(&f)
	cfg.EventLog.check(&f, cfg.Spool)
	cfg.Pressure.check(&f)
	p.rules = newRules(&cfg, r.authServer(&cfg), r.calls, &f)
	p.signer = cfg.newSigner(p.log, &f)
	p.routes = r.newRoutes(&cfg, p, &f)
	p.retry = newRetry(cfg.Retry, &f)
	p.shaping = newShaping(cfg.Shaping, &f)
	p.intake = r.newIntake(p)
	p.attempts = p.attemptSettings()
	return p, f.err()
}

// newSigner makes what signs by the keys of a configuration.
func (cfg *Config) newSigner(log *slog.Logger, f *faults) *intake.Signer {
	if len(cfg.DKIM) == 0 {
		return intake.NewSigner(nil, log)
	}
	keys, err := msgauth.NewSigner(cfg.DKIM...)
	f.join("DKIM", err)
	return intake.NewSigner(keys, log)
}

// newIntake makes what takes messages in by a configuration.
func (r *Relay) newIntake(p *snapshot) *intake.Intake {
	in := &intake.Intake{
		Now:   r.now,
		Rules: p.rules, Signer: p.signer, Headers: &r.headers, Memory: &r.memory,
		Deliveries: func(
			rcpts []routing.Recipient, stream string, size int64, now time.Time,
		) []spool.Delivery {
			return p.routes.Deliveries(rcpts, stream, size, now, p.retry.Expires)
		},
		KeyReused: ErrKeyReused,
	}
	if keys, ok := r.store.(spool.Keys); ok {
		in.Claimed = func(ctx context.Context, scope, key string) (
			id spool.ID, digest [32]byte, ok bool, err error,
		) {
			id, digest, ok, err = keys.Claimed(ctx, scope, key)
			return id, digest, ok, storeError(err)
		}
	}
	return in
}

// authServer returns what runs AUTH by a configuration; nil if nobody can log
// on.
func (r *Relay) authServer(cfg *Config) *policy.Verifiers {
	switch {
	case cfg.Auth != nil:
		return r.calls.verifier.Bound(cfg.Auth)
	case cfg.Verifier != nil:
		return r.calls.verifier.Bound(
			&auth.Server{Passwords: cfg.Verifier, Throttle: r.throttle()},
		)
	}
	return nil
}

// checkOwn reports faults of what concerns the relay as a whole.
func (cfg *Config) checkOwn(f *faults) {
	host, err := domains.ParseDomain(cfg.Hostname)
	switch {
	case cfg.Hostname == "":
		f.addf("Hostname", "a host name is required, such as relay.example.com")
	case err != nil || strings.HasPrefix(host, "["):
		f.addf("Hostname", "%q is not a host name, such as relay.example.com", cfg.Hostname)
	}
	if cfg.Spool == nil {
		f.addf("Spool", "a store for the queue is required, such as filespool.Open or memspool.New")
	}
	switch n := cfg.MaxDeliveries; {
	case n < 0:
		f.addf("MaxDeliveries", "%d is negative; 0 is the default, %d", n, defaultDeliveries)
	case n > maxDeliveries:
		f.addf("MaxDeliveries", "%d is more than %d; each holds about 100 KB", n, maxDeliveries)
	}
	if cfg.LeaseTime != 0 && cfg.LeaseTime < minLease {
		f.addf("LeaseTime", "%v is less than a second; 0 is the default, 2m", cfg.LeaseTime)
	}
	if cfg.DrainTimeout < 0 {
		f.addf("DrainTimeout", "%v is negative; 0 is the default, 30s", cfg.DrainTimeout)
	}
}

// checkNil reports what is there but nil within, such as the *Store of a call
// that failed: it would panic when it is used.
func (cfg *Config) checkNil(f *faults) {
	type part struct {
		field string
		value any
	}
	parts := []part{
		{"Spool", cfg.Spool}, {"Mailboxes", cfg.Mailboxes}, {"Transport", cfg.Transport},
		{"Verifier", cfg.Verifier}, {"Quota", cfg.Quota},
	}
	if a := cfg.Auth; a != nil {
		parts = append(parts, part{"Auth.Passwords", a.Passwords}, part{"Auth.SCRAM", a.SCRAM},
			part{"Auth.Tokens", a.Tokens}, part{"Auth.Certificates", a.Certificates})
	}
	for name, t := range cfg.Transports {
		parts = append(parts, part{fmt.Sprintf("Transports[%q]", name), t})
	}
	for _, part := range parts {
		if isNil(part.value) {
			f.addf(part.field, "%T that is nil", part.value)
		}
	}
}
