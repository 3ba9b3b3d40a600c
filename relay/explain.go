package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
)

// ExplainQuery describes a session and a message, for [Relay.Explain].
type ExplainQuery struct {
	// Local is the address the client connects to, Remote the client's. Both
	// are required; only the address of Remote counts.
	Local, Remote netip.AddrPort
	// TLS tells that the session is inside TLS.
	TLS bool
	// User, Groups and Senders are those of the identity after AUTH. Defaults
	// to an anonymous session. The password is not part of the question: it is
	// taken as good.
	User    string
	Groups  []string
	Senders []string
	// Server tells that the identity is one of the operator's own relays
	// ([auth.Identity].Server).
	Server bool
	// Names are the DNS names of the verified client certificate; Partner is a
	// domain proved in another way.
	Names   []string
	Partner string
	// From is the reverse-path, empty for the null sender; To the recipient,
	// empty to leave RCPT out; Size the message's octets, 0 if unknown.
	From, To string
	Size     int64
}

// Explanation tells what a session may do, and why.
type Explanation struct {
	// Candidates are all connectors that take part, with the reason why each
	// was chosen or not.
	Candidates []connector.Candidate
	// Connector is the name of the one chosen; empty if the connection is
	// closed.
	Connector string
	// Permissions are its permission groups, with Custom when grants depart
	// from them.
	Permissions string
	// Principal is who the session is, Rights where each right came from.
	Principal connector.Principal
	Rights    []connector.RightSource
	// Domain is the accepted domain of To, such as "*.example.com", and Type
	// its type. Domain is empty if there is none; Type then means nothing.
	Domain string
	Type   domains.Type
	// Resolution says what is known of the recipient.
	Resolution Resolution
	// Route says where the recipient's copy would go.
	Route Route
	// Replies are what the commands would be answered, in order, up to the
	// first refusal.
	Replies []ExplainedReply
}

// ExplainedReply is what one command would be answered.
type ExplainedReply struct {
	Command  string // "MAIL FROM:<a@example.com>"
	Code     int
	Enhanced string
	Text     string // of a refusal
	Reason   string // why it is refused; empty when it is not
}

// Explain tells how the relay would decide, without sending anything: the
// connector, the rights, the domain, the route, and the reply to each command.
// It asks the same functions as a session does. Of the application's own, it
// asks the domain's Recipients; it does not ask Policy, count rates, or look at
// the load. An address that cannot be read is an error.
func (r *Relay) Explain(ctx context.Context, q ExplainQuery) (*Explanation, error) {
	if ctx == nil {
		return nil, errNoContext
	}
	p := r.snap.Load()
	from, to, err := q.addresses(p)
	if err != nil {
		return nil, err
	}
	e := &Explanation{Candidates: p.rules.Set.Explain(q.Local, q.Remote.Addr())}
	c, ok := p.rules.Set.Match(q.Local, q.Remote.Addr())
	if !ok {
		e.Replies = []ExplainedReply{
			{
				Command: "connect",
				Reason:  "no connector for the peer: the connection is closed without a banner",
			},
		}
		return e, nil
	}
	if policy.MustEncrypt(p.rules.Encrypt, q.Remote.Addr(), netip.Addr{}) {
		c = policy.Encrypting(c)
	}
	e.Connector, e.Permissions = c.Name, c.Permissions()
	peer := connector.Subject{TLS: q.TLS, Names: q.Names, Partner: q.Partner}
	s := policy.Client{Connector: c, TLS: q.TLS}
	ok = true
	if q.User != "" {
		s.Identity = &auth.Identity{
			User: q.User, Groups: q.Groups, Senders: q.Senders, Server: q.Server,
		}
		peer.Authenticated, peer.User, peer.Groups, peer.Server = true, q.User, q.Groups, q.Server
		ok = e.step("AUTH "+q.User, 235, "2.7.0", policy.DecideAuth(p.rules.Auth, c, q.TLS)) &&
			e.amend(policy.DecideLogon(c, q.TLS, s.Identity, c.Rights(peer)))
	}
	s.Rights = c.Rights(peer)
	e.Principal, e.Rights = c.Explain(peer)
	ok = ok && e.mail(p, s, q, from)
	e.rcpt(ctx, p, s, q, from, to, ok)
	return e, nil
}

// addresses reads the query's addresses.
func (q *ExplainQuery) addresses(p *snapshot) (from, to domains.Address, err error) {
	var errs []error
	if !q.Local.IsValid() {
		errs = append(errs, &postern.FieldError{Field: "Local", Err: errors.New("required")})
	}
	if !q.Remote.IsValid() {
		errs = append(errs, &postern.FieldError{Field: "Remote", Err: errors.New("required")})
	}
	if q.From != "" {
		if from, err = domains.Parse(q.From); err != nil {
			errs = append(errs, &postern.FieldError{Field: "From", Err: err})
		}
	}
	if strings.EqualFold(q.To, "postmaster") {
		to = p.rules.Postmaster
	} else if q.To != "" {
		if to, err = domains.Parse(q.To); err != nil {
			errs = append(errs, &postern.FieldError{Field: "To", Err: err})
		}
	}
	return from, to, errors.Join(errs...)
}

// step notes the reply to a command and reports whether it is accepted.
func (e *Explanation) step(command string, code int, enhanced string, refusal *policy.Reply) bool {
	e.Replies = append(e.Replies, ExplainedReply{Command: command, Code: code, Enhanced: enhanced})
	return e.amend(refusal)
}

// amend turns the last reply into a refusal, if there is one.
func (e *Explanation) amend(refusal *policy.Reply) bool {
	if refusal == nil {
		return true
	}
	last := &e.Replies[len(e.Replies)-1]
	last.Code, last.Enhanced = refusal.Code, refusal.Enhanced
	last.Text, last.Reason = refusal.Text, refusal.Text
	if refusal.Cause != nil {
		last.Reason = refusal.Cause.Error()
	}
	return false
}

func (e *Explanation) mail(
	p *snapshot, s policy.Client, q ExplainQuery, from domains.Address,
) bool {
	command := "MAIL FROM:<" + from.String() + ">"
	if q.Size > 0 {
		command += fmt.Sprint(" SIZE=", q.Size)
	}
	return e.step(command, 250, "2.1.0", policy.DecideTLS(s.Connector, s.TLS)) &&
		e.amend(
			policy.DecideSize(s.Connector.Limits.WithDefaults(s.Connector.Usage), s.Rights, q.Size),
		) &&
		e.amend(p.rules.DecideMail(s, from))
}

// rcpt explains domain and route also when an earlier command is refused, which
// helps to see what is missing.
func (e *Explanation) rcpt(
	ctx context.Context, p *snapshot, s policy.Client, q ExplainQuery, from, to domains.Address,
	reached bool,
) {
	if to.IsNull() {
		return
	}
	d, accepted := p.rules.Table.Lookup(to.Domain())
	if accepted {
		e.Domain, e.Type = d.Domain, d.Type
	}
	t, refusal := p.rules.DecideRcpt(ctx, s, to)
	if long := policy.DecideLength(from, to); long != nil {
		refusal = long
	}
	switch {
	case !accepted || d.Recipients == nil || t == policy.Unresolved:
		e.Resolution = NotLookedUp
	case refusal != nil && refusal.Code < 500:
		e.Resolution = LookupFailed
	case t == policy.InMailbox:
		e.Resolution = Known
	default:
		e.Resolution = Unknown
	}
	if reached {
		e.step("RCPT TO:<"+to.String()+">", 250, "2.1.5", refusal)
	}
	if refusal == nil {
		_ = e.Route.UnmarshalText([]byte(routing.Describe(p.routes.KeyOf(t, to, q.Size))))
	}
}

// Refused reports whether a command would be refused, or the connection closed.
func (e *Explanation) Refused() bool {
	return len(e.Replies) > 0 && e.Replies[len(e.Replies)-1].Reason != ""
}

// WriteTo writes the explanation as text for people.
func (e *Explanation) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	b.WriteString("connectors\n")
	for _, c := range e.Candidates {
		mark := "  "
		if c.Chosen {
			mark = "> "
		}
		fmt.Fprintf(&b, "  %s%s: %s\n", mark, c.Connector.Name, c.Reason)
	}
	if e.Connector != "" {
		fmt.Fprintf(&b, "groups     %s\nprincipal  %s\nrights\n", e.Permissions, e.Principal)
		for _, r := range e.Rights {
			mark := "-"
			if r.Granted {
				mark = "+"
			}
			fmt.Fprintf(&b, "  %s %s: %s\n", mark, r.Right, r.Reason)
		}
	}
	if e.Resolution != NotAsked {
		domain := "none: not an accepted domain"
		if e.Domain != "" {
			domain = e.Domain + " (" + e.Type.String() + ")"
		}
		fmt.Fprintf(&b, "domain     %s\nrecipient  %s\n", domain, e.Resolution)
	}
	if e.Route.Kind != NoRoute {
		fmt.Fprintf(&b, "route      %s\n", e.Route)
	}
	b.WriteString("replies\n")
	for _, r := range e.Replies {
		b.WriteString("  " + r.Command + "\n    ")
		if r.Code != 0 {
			fmt.Fprintf(&b, "%d %s", r.Code, r.Enhanced)
		}
		if r.Text != "" {
			b.WriteString(" " + r.Text)
		}
		if r.Reason != "" && r.Reason != r.Text {
			fmt.Fprintf(&b, " (%s)", r.Reason)
		}
		b.WriteByte('\n')
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}
