package connector_test

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// player plays one case.
type player struct {
	t      *testing.T
	ca     *authority
	cfg    relay.Config
	users  map[string]*auth.Identity
	faults []string // expected
	unread []string // values that cannot be read
	relay  *relay.Relay
	w      *wire

	conn     *peer
	held     []*peer
	began    time.Time // the last command
	query    relay.ExplainQuery
	routes   map[string]string // explained routes of the recipients accepted
	explains bool              // MAIL was accepted as explained, so that RCPT can be explained

	mu      sync.Mutex
	events  []event.Event   // since the last message began
	refused []event.Event   // not yet compared
	logged  []event.Event   // likewise, from the log
	rights  connector.Right // of the session that last sent MAIL
	taken   string          // its connector
	author  string          // whom it is believed to speak for
	commits []commit        // since the last message began
}

// commit is a message as it went into the queue.
type commit struct {
	spool.Commit
	content string
}

// checkFaults compares what could not be read, or else the list in the error of
// relay.New.
func (p *player) checkFaults(err error) {
	p.t.Helper()
	got := p.unread
	if got == nil && err != nil {
		for i, s := range strings.Split(err.Error(), "\n") {
			if i > 0 {
				got = append(got, strings.TrimSpace(s))
			}
		}
	}
	if g, w := strings.Join(got, "\n"), strings.Join(p.faults, "\n"); g != w {
		p.t.Errorf("faults of the configuration:\n%s\nwant:\n%s", g, w)
	}
}

// configure reads a line before the first session.
func (p *player) configure(l scriptLine) {
	switch l.verb {
	case "relay":
		p.fields(l, &p.cfg, l.rest)
	case "connector":
		name, rest, _ := strings.Cut(l.rest, " ")
		p.cfg.Connectors = append(p.cfg.Connectors, p.connector(l, name, rest))
	case "grant", "deny":
		p.grant(l)
	case "domain":
		name, rest, _ := strings.Cut(l.rest, " ")
		p.cfg.AcceptedDomains = append(p.cfg.AcceptedDomains, domains.AcceptedDomain{Domain: name})
		p.fields(l, &p.cfg.AcceptedDomains[len(p.cfg.AcceptedDomains)-1], rest)
	case "send":
		name, rest, _ := strings.Cut(l.rest, " ")
		c := &connector.SendConnector{Name: name}
		p.cfg.SendConnectors = append(p.cfg.SendConnectors, c)
		p.fields(l, c, rest)
	case "user":
		name, rest, _ := strings.Cut(l.rest, " ")
		p.users[name] = &auth.Identity{User: name}
		p.fields(l, p.users[name], rest)
	case "config-error":
		p.faults = append(p.faults, l.rest)
	default:
		p.t.Fatalf("%s: %q is no line of a configuration", l.at, l.verb)
	}
}

// connector starts with a usage or a recipe, where there is one.
func (p *player) connector(l scriptLine, name, rest string) *connector.Connector {
	c := &connector.Connector{Name: name}
	rest = strings.TrimSpace(rest)
	word, after, _ := strings.Cut(rest, " ")
	if key, value, _ := strings.Cut(word, "="); key == "Usage" {
		var u connector.Usage
		if err := u.UnmarshalText([]byte(value)); err != nil {
			p.t.Fatalf("%s: %v", l.at, err)
		}
		c, rest = connector.New(name, u), after
	} else if key == "Recipe" {
		recipes := map[string]func(string) *connector.Connector{
			"FromInternet": connector.FromInternet,
			"Submission":   connector.Submission,
			"AnonymousRelay": func(name string) *connector.Connector {
				return connector.AnonymousRelay(name)
			},
		}
		if recipes[value] == nil {
			p.t.Fatalf("%s: no recipe %q", l.at, value)
		}
		c, rest = recipes[value](name), after
	}
	p.fields(l, c, rest)
	return c
}

func (p *player) grant(l scriptLine) {
	who, what, _ := strings.Cut(l.rest, " ")
	g := connector.Grant{Deny: l.verb == "deny"}
	err := errors.Join(g.Principal.UnmarshalText([]byte(who)), g.Rights.UnmarshalText([]byte(what)))
	if err != nil || len(p.cfg.Connectors) == 0 {
		p.t.Fatalf("%s: no connector before it, or %v", l.at, err)
	}
	c := p.cfg.Connectors[len(p.cfg.Connectors)-1]
	c.Grants = append(c.Grants, g)
}

// fields sets the fields that words such as Usage=Custom and RequireTLS name. A
// value may stand in quotes.
func (p *player) fields(l scriptLine, of any, words string) {
	for words = strings.TrimSpace(words); words != ""; words = strings.TrimSpace(words) {
		var word string
		word, words, _ = strings.Cut(words, " ")
		key, value, assigned := strings.Cut(word, "=")
		if start, quoted := strings.CutPrefix(value, `"`); quoted {
			if value, quoted = strings.CutSuffix(start, `"`); !quoted {
				var rest string
				rest, words, _ = strings.Cut(words, `"`)
				value = start + " " + rest
			}
		}
		if !assigned {
			value = "true"
		}
		v := reflect.ValueOf(of).Elem()
		for name := range strings.SplitSeq(key, ".") {
			if v = v.FieldByName(name); !v.IsValid() {
				p.t.Fatalf("%s: no field %q", l.at, key)
			}
		}
		if err := setField(v, value); err != nil {
			p.unread = append(p.unread, fmt.Sprintf("%s: %v", key, err))
		}
	}
}

func setField(v reflect.Value, s string) (err error) {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(s))
	}
	if s == "none" {
		v.SetZero()
		return nil
	}
	switch v.Type() {
	case reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(s)
		v.SetInt(int64(d))
		return err
	case reflect.TypeFor[domains.Resolver]():
		v.Set(reflect.ValueOf(recipientsOf(s)))
		return nil
	}
	switch v.Kind() {
	case reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(s)
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		var n int64
		n, err = strconv.ParseInt(s, 10, 64)
		v.SetInt(n)
	case reflect.String:
		v.SetString(s)
	case reflect.Slice:
		parts := strings.Split(s, ",")
		v.Set(reflect.MakeSlice(v.Type(), len(parts), len(parts)))
		for i, part := range parts {
			err = errors.Join(err, setField(v.Index(i), part))
		}
	case reflect.Map: // PartnerNames
		v.Set(reflect.MakeMap(v.Type()))
		for pair := range strings.SplitSeq(s, ",") {
			key, value, _ := strings.Cut(pair, ":")
			v.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(value))
		}
	default:
		err = fmt.Errorf("a %s cannot be set", v.Type())
	}
	return err
}

// recipientsOf knows the recipients of the list. Who asks for one whose name
// begins with "down" gets no answer.
func recipientsOf(list string) domains.Resolver {
	known := domains.StaticRecipients(strings.Split(list, ",")...)
	return domains.ResolverFunc(func(ctx context.Context, a domains.Address) (bool, error) {
		if strings.HasPrefix(a.Local(), "down") {
			return false, errors.New("directory is down")
		}
		return known.Resolve(ctx, a)
	})
}

// scriptAddr reads an address with a port or without.
func scriptAddr(t *testing.T, l scriptLine, s string) netip.AddrPort {
	t.Helper()
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 40000)
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		t.Fatalf("%s: %v", l.at, err)
	}
	return a
}

// routeOf is a key as an Explanation shows it.
func routeOf(k spool.Key) string {
	if name, ok := strings.CutPrefix(k.Route, "mx/"); ok {
		return "mx/" + k.Domain + "/" + name
	}
	return k.Route
}

// checkRights compares the explained rights with the line.
func (p *player) checkRights(l scriptLine) {
	p.t.Helper()
	e := p.explain(l, p.query)
	if l.verb == "principal" {
		if string(e.Principal) != l.rest {
			p.t.Errorf("%s: it is %s", l.at, e.Principal)
		}
		return
	}
	want, err := connector.ParseRight(l.rest)
	if err != nil {
		p.t.Fatalf("%s: %v", l.at, err)
	}
	if got := rightsOf(e); got != want {
		p.t.Errorf("%s: too many: %s; missing: %s", l.at, got&^want, want&^got)
	}
}

// checkHeader looks for the beginnings of fields in the message that was queued
// last.
func (p *player) checkHeader(l scriptLine) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.commits) == 0 {
		p.t.Fatalf("%s: nothing was queued", l.at)
	}
	header, _, _ := strings.Cut(p.commits[0].content, "\r\n\r\n")
	for field := range strings.SplitSeq(l.rest, " | ") {
		if kept := strings.Contains(
			"\r\n"+header, "\r\n"+strings.TrimSpace(field),
		); kept != (l.verb == "keeps") {
			p.t.Errorf("%s: %q in\n%s", l.at, field, header)
		}
	}
}

// checkFate looks at what became of a recipient: "fate alice@example.test
// delivered".
func (p *player) checkFate(l scriptLine) {
	p.t.Helper()
	synctest.Wait()
	addr, want, _ := strings.Cut(l.rest, " ")
	p.mu.Lock()
	defer p.mu.Unlock()
	got := "waiting"
	for _, e := range p.events {
		if (e.Kind.Fate() || e.Kind == event.Deferred) && slices.Contains(e.To, addr) {
			got = e.Kind.String()
			if e.Kind != event.Delivered && e.Enhanced != "" {
				got += " " + e.Enhanced
			}
		}
	}
	if got != want {
		p.t.Errorf("%s: %s", l.at, got)
	}
}

// checkReport looks for reports on the last message: "report to
// x@elsewhere.test", "report none".
func (p *player) checkReport(l scriptLine) {
	p.t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	got := "none"
	for _, c := range p.commits[min(1, len(p.commits)):] {
		if c.Message.From == "" {
			got = "to " + c.Deliveries[0].Recipients[0].Address
		}
	}
	if got != l.rest {
		p.t.Errorf("%s: %s", l.at, got)
	}
}

// verify accepts the users of the case with the password "secret".
func (p *player) verify(_ context.Context, c auth.Proof) (*auth.Identity, error) {
	if id := p.users[c.Username]; id != nil && c.Password == "secret" {
		return id, nil
	}
	return nil, auth.ErrBadCredentials
}

func (p *player) mailPolicy(_ context.Context, s *relay.Session, _ domains.Address) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rights, p.taken, p.author = s.Rights, s.Connector.Name, s.Author
	return nil
}

func (p *player) event(e event.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Kind == event.Rejected {
		p.refused = append(p.refused, e)
	}
	p.events = append(p.events, e)
}
