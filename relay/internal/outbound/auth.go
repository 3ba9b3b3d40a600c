package outbound

import (
	"context"
	"errors"
	"slices"

	"github.com/postern-mail/postern/relay/delivery"
)

var (
	errAuthInClear = errors.New("no TLS: neither password nor token is sent")
	errMechanism   = errors.New("the peer offers no AUTH mechanism that fits")
)

// maxRefusals is how many mechanisms a host may refuse for what was proved:
// another one may be what it has the keys for, and a third would only count as
// one more failure.
const maxRefusals = 2

// auth logs on (RFC 4954) by the best mechanism that the peer offers, or
// another where that is refused. Every failure is temporary: it is for the
// operator to mend while the mail waits.
func (c *conn) auth(ctx context.Context, h *hop, who *login) (failed *delivery.Error) {
	if !c.secure() && !h.AllowPlaintextAuth && h.Username != "" {
		return temporary(delivery.OpAuth, "4.7.0", errAuthInClear)
	}
	tries := c.choose(h.proof(), who.first())
	if len(tries) == 0 && h.Username != "" {
		return temporary(delivery.OpAuth, "4.7.0", errMechanism)
	}
	refusals := 0
	for _, m := range tries {
		d := &dialogue{conn: c, hop: h, login: who, name: m.name}
		rep, err := m.talk(d)
		switch {
		case errors.Is(err, errUnfit):
			failed = temporary(delivery.OpAuth, "4.7.0", err)
			continue
		case errors.Is(err, errUnproved):
			return temporary(delivery.OpAuth, "4.7.0", err)
		case failed != nil && (err != nil || rep.code == 421):
			return failed // enough of it, after the first
		case err != nil:
			return lost(ctx, delivery.OpAuth, "4.4.2", err)
		case rep.class() == 2:
			if failed != nil {
				who.takes(m.name)
			}
			return nil
		}
		failed = refused(delivery.OpAuth, rep)
		failed.Permanent, failed.Reply.Text = false, d.hide(failed.Reply.Text)
		if who.why != "" {
			failed.Err, who.why = errors.New(d.hide(who.why)), ""
		}
		if !ofMechanism(rep.code) {
			if refusals++; rep.code != 535 || m.by == byToken || refusals == maxRefusals {
				break
			}
		}
	}
	return failed
}

// ofMechanism tells whether a refusal is of the mechanism alone (RFC 4954
// section 6). Hosts use 535 for that too.
func ofMechanism(code int) bool { return code == 504 || code == 534 }

// ofSecret tells whether a refusal may be of what was shown.
func ofSecret(code int) bool { return code/100 == 5 && !ofMechanism(code) }

// choose gives the mechanisms to try, the preferred one first, or before it the
// one that the peer took of late where it refused another.
func (c *conn) choose(by proof, first string) []mechanism {
	var list []mechanism
	scram := false
	for _, m := range mechanisms() {
		fits := m.by == by && slices.Contains(c.ext.auth, m.name) && (!m.tls || c.secure())
		if !fits || m.scram && scram {
			continue // where one SCRAM is refused another is
		}
		scram = scram || m.scram
		if m.name == first {
			list = slices.Insert(list, 0, m)
		} else {
			list = append(list, m)
		}
	}
	return list
}
