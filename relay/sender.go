package relay

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// smtpSender is what SMTP deliveries use of the relay.
type smtpSender struct {
	client   *outbound.Client
	hostname string
	rules    *policy.Rules
	log      *slog.Logger
	signer   *signer
	number   string // of the configuration
}

// hop makes a next hop ready for the client.
func (s *smtpSender) hop(of *connector.NextHop, name string) outbound.NextHop {
	h := of.WithDefaults()
	return outbound.NextHop{
		Key:                   s.number + "/" + name,
		Hosts:                 h.Hosts,
		AllowPrivate:          h.AllowPrivateAddresses,
		Port:                  h.Port,
		LMTP:                  h.LMTP,
		TLS:                   h.TLS,
		TLSDomain:             h.TLSDomain,
		RootCAs:               h.RootCAs,
		Certificates:          h.Certificates,
		ImplicitTLS:           h.ImplicitTLS,
		Username:              h.Username,
		Password:              h.Password,
		AllowPlaintextAuth:    h.AllowPlaintextAuth,
		Helo:                  cmp.Or(h.FQDN, s.hostname),
		MaxConnections:        h.MaxConnections,
		MessagesPerConnection: h.MessagesPerConnection,
	}
}

// send makes one transaction.
func (s *smtpSender) send(
	ctx context.Context, hop *outbound.NextHop, a *delivery.Attempt,
) []delivery.Result {
	rcpts := make([]outbound.Recipient, len(a.Recipients))
	for i, r := range a.Recipients {
		rcpts[i] = outbound.Recipient{
			Address: r.Address, ASCII: inASCII(r.Address), ORCPT: r.Original,
		}
		if r.Notify != 0 {
			rcpts[i].Notify = r.Notify.String()
		}
	}
	m := &a.Message
	var own outbound.Signatures
	if m.Signatures > 0 {
		own = &ownSignatures{signer: s.signer, id: a.QueueID, n: m.Signatures}
	}
	got := s.client.Deliver(ctx, &outbound.Request{
		ID:         a.QueueID,
		Hop:        hop,
		From:       m.From,
		FromASCII:  inASCII(m.From),
		Recipients: rcpts,
		EnvelopeID: m.EnvelopeID,
		Return:     string(m.Return),
		Body:       string(m.Body),
		UTF8:       m.UTF8,
		Size:       m.Size,
		Open:       a.Open,
		Signatures: own,
	})
	results := make([]delivery.Result, len(got))
	for i := range got {
		results[i] = resultOf(&got[i])
	}
	return results
}

// loan is the relay's client, lent to one attempt. It remembers of whom a copy
// was taken from it, and whether that is where it should be: a transport that
// is made of others does not tell.
type loan struct {
	*smtpSender

	mu    sync.Mutex
	final map[string]bool // by address
}

var errNoHosts = errors.New("relay: a next hop without hosts")

// Send implements [delivery.Sender].
func (l *loan) Send(
	ctx context.Context, hop *connector.NextHop, a *delivery.Attempt,
) []delivery.Result {
	switch {
	case a == nil:
		return nil
	case hop == nil || len(hop.Hosts) == 0:
		return a.All(delivery.Failed(&delivery.Error{Op: delivery.OpRoute, Err: errNoHosts}))
	}
	next := l.hop(hop, digestOf(hop))
	return l.transact(ctx, &next, a)
}

// transact makes one transaction and notes who has taken the message.
func (l *loan) transact(
	ctx context.Context, hop *outbound.NextHop, a *delivery.Attempt,
) []delivery.Result {
	results := l.send(ctx, hop, a)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range results {
		if results[i].OK() {
			l.note(a.Recipients[i].Address, hop.LMTP)
		}
	}
	return results
}

// assume notes where a copy is of which nothing else is known.
func (l *loan) assume(address string, final bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.final[address]; !ok {
		l.note(address, final)
	}
}

// note is for who holds the lock.
func (l *loan) note(address string, final bool) {
	if l.final == nil {
		l.final = make(map[string]bool)
	}
	l.final[address] = final
}

// isFinal reports whether a copy that was taken is in its mailbox, and not on
// its way there over another host. def is so for one that this client did not
// hand over.
func (l *loan) isFinal(address string, def bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if final, ok := l.final[address]; ok {
		return final
	}
	return def
}

// digestOf tells next hops apart by all that they say.
func digestOf(h *connector.NextHop) string {
	type plain connector.NextHop // which prints its fields
	d := sha256.New()
	fmt.Fprintf(d, "%#v", plain(*h))
	return hex.EncodeToString(d.Sum(nil))
}

// inASCII gives another spelling of an address, for a host without SMTPUTF8. It
// is empty where there is none, or none is needed.
func inASCII(address string) string {
	if !strings.ContainsFunc(address, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return ""
	}
	a, err := domains.Parse(address)
	if err != nil {
		return ""
	}
	s, ok := a.ASCII()
	if !ok {
		return ""
	}
	return s
}

func resultOf(r *outbound.Result) delivery.Result {
	reply := delivery.Reply{Code: r.Code, Enhanced: r.Enhanced, Text: r.Text}
	if r.Outcome == outbound.Delivered {
		return delivery.Result{Delivered: true, Host: r.Host, Reply: reply, DSN: r.DSN}
	}
	op, err := delivery.ParseOp(r.Op)
	if err != nil {
		op = delivery.OpContent
	}
	return delivery.Result{Host: r.Host, Err: &delivery.Error{
		Op: op, Host: r.Host, Reply: reply, Err: r.Err, Permanent: r.Outcome == outbound.Permanent,
	}}
}
