package connector_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
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
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestScripts plays the files of testdata. README.md there describes them.
func TestScripts(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range scriptCases(t, file, string(text)) {
				t.Run(c.title, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { c.play(t, ca) })
				})
			}
		})
	}
}

// scriptCase is what stands between two titles.
type scriptCase struct {
	title string
	lines []scriptLine
}

type scriptLine struct {
	at    string // file:line
	verb  string
	rest  string // behind the verb
	want  string // behind the arrow
	arrow bool
}

func scriptCases(t *testing.T, file, text string) []*scriptCase {
	t.Helper()
	var list []*scriptCase
	var common []scriptLine // before the first title
	n := 0
	for s := range strings.Lines(text) {
		n++
		l := scriptLine{at: fmt.Sprintf("%s:%d", file, n)}
		s, _, _ = strings.Cut(strings.TrimSpace(s), "  #")
		if title, ok := strings.CutPrefix(s, "== "); ok {
			list = append(list, &scriptCase{title: title, lines: slices.Clone(common)})
			continue
		}
		if s == "" || s[0] == '#' {
			continue
		}
		s, l.want, l.arrow = strings.Cut(s, " -> ")
		l.verb, l.rest, _ = strings.Cut(strings.TrimSpace(s), " ")
		l.rest, l.want = strings.TrimSpace(l.rest), strings.TrimSpace(l.want)
		if len(list) == 0 {
			common = append(common, l)
			continue
		}
		last := list[len(list)-1]
		last.lines = append(last.lines, l)
	}
	return list
}

// play configures a relay and holds its sessions.
func (c *scriptCase) play(t *testing.T, ca *authority) {
	p := &player{t: t, ca: ca, users: map[string]*auth.Identity{}, w: newWire()}
	p.cfg = relay.Config{
		Hostname: "relay.example.test", TLS: ca.server(),
		Spool: &recorder{Store: memspool.New(nil), player: p}, Resolver: noDNS{},
		Events: p.event, Logger: slog.New(&refusals{player: p}),
		Verifier: auth.VerifierFunc(p.verify),
		Mailboxes: delivery.Mailbox(func(
			context.Context, domains.Address, *delivery.Attempt,
		) error {
			return nil
		}),
		Policy: relay.Policy{Mail: p.mailPolicy},
	}
	lines := c.lines
	for len(lines) > 0 && lines[0].verb != "session" {
		p.configure(lines[0])
		lines = lines[1:]
	}
	r, err := relay.New(p.cfg)
	if err != nil || p.unread != nil || p.faults != nil {
		p.checkFaults(err)
		return
	}
	p.relay = r
	served := make(chan error)
	go func() { served <- r.Serve(p.w) }()
	for _, l := range lines {
		p.step(l)
	}
	p.hangUp()
	for _, conn := range p.held {
		_ = conn.conn.Close()
	}
	synctest.Wait()
	p.checkRefusals("the end", 0)
	_ = r.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

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
	query    relay.Query
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

// step plays a line of a session.
func (p *player) step(l scriptLine) {
	p.t.Helper()
	if l.verb != "session" && p.conn == nil &&
		!slices.Contains([]string{"wait", "fate", "report"}, l.verb) {
		p.t.Fatalf("%s: there is no session", l.at)
	}
	if l.arrow {
		p.began = time.Now()
	}
	switch l.verb {
	case "took":
		if took := time.Since(p.began).String(); took != l.rest {
			p.t.Errorf("%s: %s", l.at, took)
		}
	case "session":
		p.session(l)
	case "AUTH":
		p.auth(l)
	case "MAIL":
		p.mail(l)
	case "RCPT":
		p.rcpt(l)
	case "DATA":
		p.data(l)
	case "principal", "rights":
		p.checkRights(l)
	case "author":
		p.mu.Lock()
		if got := cmp.Or(p.author, "nobody"); got != l.rest {
			p.t.Errorf("%s: %s", l.at, got)
		}
		p.mu.Unlock()
	case "keeps", "drops":
		p.checkHeader(l)
	case "fate":
		p.checkFate(l)
	case "report":
		p.checkReport(l)
	case "wait":
		d, err := time.ParseDuration(l.rest)
		if err != nil {
			p.t.Fatalf("%s: %v", l.at, err)
		}
		p.hangUp()
		time.Sleep(d) // the bubble's clock
		synctest.Wait()
	default:
		if !l.arrow {
			p.t.Fatalf("%s: %q is no line of a session", l.at, l.verb)
		}
		p.reply(l, p.conn.say(strings.TrimSpace(l.verb+" "+l.rest)), nil)
	}
}

// hangUp ends the session.
func (p *player) hangUp() {
	if p.conn != nil {
		_ = p.conn.conn.Close()
		p.conn = nil
	}
}

// session connects. What follows the arrow is the connector that takes it,
// "nobody", or a refusal.
func (p *player) session(l scriptLine) {
	p.t.Helper()
	var s struct {
		Local, Remote, Via string
		TLS, Hold          bool
		Cert               string
	}
	if p.fields(l, &s, l.rest); p.unread != nil {
		p.t.Fatalf("%s: %q", l.at, p.unread)
	}
	if s.Hold && p.conn != nil {
		p.held = append(p.held, p.conn)
		p.conn = nil
	}
	p.hangUp()
	synctest.Wait()
	p.query = relay.Query{
		Local: scriptAddr(p.t, l, s.Local), Remote: scriptAddr(p.t, l, s.Remote), TLS: s.TLS,
	}
	if s.Cert != "" {
		p.query.Names = []string{s.Cert}
	}
	p.explains = false
	e := p.explain(l, p.query)
	p.taken = e.Connector
	if s.Via == "" {
		p.conn = p.w.dial(p.query.Local, p.query.Remote)
	} else {
		p.conn = p.w.dial(p.query.Local, scriptAddr(p.t, l, s.Via))
		_, _ = fmt.Fprintf(p.conn.conn, "PROXY TCP4 %s %s %d %d\r\n",
			p.query.Remote.Addr(), p.query.Local.Addr(), p.query.Remote.Port(), p.query.Local.Port())
	}
	var c *connector.Connector
	for _, k := range e.Candidates {
		if k.Chosen {
			c = k.Connector
		}
	}
	if c != nil && c.ImplicitTLS {
		p.startTLS(l, s.Cert)
	}
	banner := p.conn.reply()
	if c == nil {
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		const reason = "no connector for the peer"
		told := len(p.refused) == 1 && p.refused[0].Reason == reason &&
			len(p.logged) == 1 && p.logged[0].Reason == reason
		if banner != "" || !e.Refused() || !told {
			p.t.Errorf("%s: %q, events %+v and log %+v, explained as %+v",
				l.at, banner, p.refused, p.logged, e.Replies)
		}
		p.refused, p.logged = nil, nil
		if l.arrow && l.want != "nobody" {
			p.t.Errorf("%s: taken by nobody", l.at)
		}
		return
	}
	if !strings.HasPrefix(banner, "220 ") {
		p.reply(l, banner, nil)
		return
	}
	if l.arrow && l.want != e.Connector {
		p.t.Errorf("%s: taken by %s", l.at, e.Connector)
	}
	p.hello(l)
	if s.TLS && !c.ImplicitTLS {
		if got := p.conn.say("STARTTLS"); !strings.HasPrefix(got, "220 ") {
			p.t.Fatalf("%s: %s", l.at, got)
		}
		p.startTLS(l, s.Cert)
		p.hello(l)
	}
}

func (p *player) hello(l scriptLine) {
	if got := p.conn.say("EHLO client.example.test"); !strings.HasPrefix(got, "250 ") {
		p.t.Fatalf("%s: %s", l.at, got)
	}
}

func (p *player) startTLS(l scriptLine, name string) {
	p.t.Helper()
	var cert *tls.Certificate
	if name != "" {
		cert = p.ca.certificate(name)
	}
	if err := p.conn.startTLS(cert); err != nil {
		p.t.Fatalf("%s: %v", l.at, err)
	}
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

func (p *player) explain(l scriptLine, q relay.Query) *relay.Explanation {
	p.t.Helper()
	e, err := p.relay.Explain(p.t.Context(), q)
	if err != nil {
		p.t.Fatalf("%s: %v", l.at, err)
	}
	return e
}

// auth logs on: with the password "secret" unless the line has another.
func (p *player) auth(l scriptLine) {
	p.t.Helper()
	user, password, other := strings.Cut(l.rest, " ")
	if !other {
		password = "secret"
	}
	q := p.query
	q.User = user
	if id := p.users[user]; id != nil {
		q.Groups, q.Senders, q.Server = id.Groups, id.Senders, id.Server
	}
	var e *relay.ExplainedReply
	if !other { // Explain takes the password as good
		e = &p.explain(l, q).Replies[0]
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	if p.reply(l, p.conn.say("AUTH PLAIN "+plain), e) {
		p.query = q
	}
}

// path is what follows FROM: or TO: — as it stands if it begins with a bracket,
// else the first word in brackets — and the address as Explain wants it, if it
// is one.
func scriptPath(s string) (path, addr, params string, ok bool) {
	if !strings.HasPrefix(s, "<") {
		word, rest, _ := strings.Cut(s, " ")
		s = strings.TrimSpace("<" + word + "> " + rest)
	}
	a, params, err := domains.ParsePath(s)
	return s, a.String(), params, err == nil && (!a.UTF8() || strings.Contains(params, "UTF8"))
}

func (p *player) mail(l scriptLine) {
	p.t.Helper()
	path, addr, params, ok := scriptPath(l.rest)
	p.query.From, p.query.To, p.query.Size = addr, "", 0
	for word := range strings.FieldsSeq(params) {
		if n, sized := strings.CutPrefix(word, "SIZE="); sized {
			p.query.Size, _ = strconv.ParseInt(n, 10, 64)
		}
	}
	p.routes = map[string]string{}
	p.mu.Lock()
	p.events, p.commits = nil, nil
	p.mu.Unlock()
	var want *relay.ExplainedReply
	var e *relay.Explanation
	if ok {
		e = p.explain(l, p.query)
		want = &e.Replies[len(e.Replies)-1]
	}
	if p.explains = p.reply(l, p.conn.say("MAIL FROM:"+path), want) && ok; !p.explains {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if explained := rightsOf(e); p.rights != explained || p.taken != e.Connector {
		p.t.Errorf(
			"%s: the session is on %s with %s, explained as %s with %s", l.at, p.taken, p.rights,
			e.Connector, explained,
		)
	}
}

func (p *player) rcpt(l scriptLine) {
	p.t.Helper()
	path, addr, _, ok := scriptPath(l.rest)
	var want *relay.ExplainedReply
	var e *relay.Explanation
	if p.explains && ok {
		p.query.To = addr
		e = p.explain(l, p.query)
		want = &e.Replies[len(e.Replies)-1]
		if route := strings.TrimPrefix(l.want, "250"); route != l.want &&
			e.Route != strings.TrimSpace(route) {
			p.t.Errorf("%s: route %q", l.at, e.Route)
		}
	}
	if l.want, ok = strings.CutPrefix(l.want, "250"); ok {
		l.want = "250"
	}
	if p.reply(l, p.conn.say("RCPT TO:"+path), want) && e != nil {
		p.routes[addr] = e.Route
	}
}

// routeOf is a key as an Explanation shows it.
func routeOf(k spool.Key) string {
	if name, ok := strings.CutPrefix(k.Route, "mx/"); ok {
		return "mx/" + k.Domain + "/" + name
	}
	return k.Route
}

// data sends fields between bars, and +N octets of body.
func (p *player) data(l scriptLine) {
	p.t.Helper()
	if got := p.conn.say("DATA"); !strings.HasPrefix(got, "354 ") {
		p.reply(l, got, nil)
		return
	}
	body := "body"
	header := l.rest
	if n, rest, ok := strings.Cut(strings.TrimPrefix(l.rest, "+"), " "); ok && l.rest[0] == '+' {
		size, err := strconv.Atoi(n)
		if err != nil {
			p.t.Fatalf("%s: %v", l.at, err)
		}
		body, header = strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72+1), rest
	}
	var b strings.Builder
	for field := range strings.SplitSeq(header, " | ") {
		field, times := strings.TrimSpace(field), 1
		if n, rest, ok := strings.Cut(field, "*"); ok {
			if many, err := strconv.Atoi(n); err == nil {
				field, times = rest, many
			}
		}
		b.WriteString(strings.Repeat(field+"\r\n", times))
	}
	if !p.reply(l, p.conn.content(b.String()+"\r\n"+body), nil) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.commits) == 0 {
		p.t.Fatalf("%s: nothing was queued", l.at)
	}
	queued := map[string]string{}
	for _, d := range p.commits[0].Deliveries {
		for _, r := range d.Recipients {
			queued[r.Address] = routeOf(d.Key)
		}
	}
	for addr, route := range p.routes {
		if queued[addr] == "" || route != "resolve" && queued[addr] != route {
			p.t.Errorf("%s: %s is queued for %q, explained as %q", l.at, addr, queued[addr], route)
		}
	}
	if len(queued) != len(p.routes) {
		p.t.Errorf("%s: queued for %v, accepted were %v", l.at, queued, p.routes)
	}
}

// reply compares what the client was told with the script, the explanation,
// the events and the log, and reports whether it was accepted.
func (p *player) reply(l scriptLine, got string, e *relay.ExplainedReply) bool {
	p.t.Helper()
	code, text, _ := strings.Cut(got, " ")
	n, _ := strconv.Atoi(code)
	want := l.want
	if n < 400 {
		p.checkRefusals(l.at, 0)
		if code != want {
			p.t.Errorf("%s: reply %q, want %s", l.at, got, want)
		}
		if e != nil && e.Code != n {
			p.t.Errorf("%s: reply %q, explained as %+v", l.at, got, *e)
		}
		return true
	}
	r := p.checkRefusals(l.at, 1)
	reason := r.Reason
	if reason == "" {
		reason = r.Text
	}
	if told := fmt.Sprint(r.Code, " ", r.Enhanced, " ", r.Text); told != code+" "+text {
		p.t.Errorf("%s: reply %q, event %q", l.at, got, told)
	}
	if full := fmt.Sprint(r.Code, " ", r.Enhanced, " ", reason); full != want {
		p.t.Errorf("%s: reply %q, want %q", l.at, full, want)
	}
	if e != nil && r.Code != 421 &&
		(e.Code != r.Code || e.Enhanced != r.Enhanced || e.Text != r.Text || e.Reason != reason) {
		// 421 is for rates and numbers of connections, which Explain does not
		// look at.
		p.t.Errorf("%s: reply %q for %q, explained as %+v", l.at, got, reason, *e)
	}
	return false
}

// checkRefusals expects n refusals since it was last called, each with an event
// and a line in the log.
func (p *player) checkRefusals(at string, n int) event.Event {
	p.t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.refused, p.logged = nil, nil }()
	if len(p.refused) != n || len(p.logged) != n {
		p.t.Fatalf(
			"%s: %d refusals, but the events %+v and the log %+v", at, n, p.refused, p.logged,
		)
	}
	if n == 0 {
		return event.Event{}
	}
	e, l := p.refused[0], p.logged[0]
	if l.Code != e.Code || l.Enhanced != e.Enhanced || l.Reason != e.Reason || l.Stage != e.Stage ||
		l.Connector != e.Connector {
		p.t.Errorf("%s: log %+v, event %+v", at, l, e)
	}
	return e
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

func rightsOf(e *relay.Explanation) (r connector.Right) {
	for _, s := range e.Rights {
		if s.Granted {
			r |= s.Right
		}
	}
	return r
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

// refusals is a log that keeps the lines on refusals.
type refusals struct{ player *player }

func (r *refusals) Enabled(context.Context, slog.Level) bool { return true }
func (r *refusals) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *refusals) WithGroup(string) slog.Handler            { return r }

func (r *refusals) Handle(_ context.Context, line slog.Record) error {
	p := r.player
	p.mu.Lock()
	defer p.mu.Unlock()
	switch line.Message {
	case "refused":
		var e event.Event
		line.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "code":
				e.Code = int(a.Value.Int64())
			case "enhanced":
				e.Enhanced = a.Value.String()
			case "reason":
				e.Reason = a.Value.String()
			case "stage":
				e.Stage = event.Stage(a.Value.String())
			case "connector":
				e.Connector = a.Value.String()
			}
			return true
		})
		p.logged = append(p.logged, e)
	}
	return nil
}

// recorder is a store that keeps a copy of what is committed.
type recorder struct {
	spool.Store
	player *player
}

func (r *recorder) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	w, err := r.Store.Create(ctx, id)
	if err != nil {
		return nil, err
	}
	return &recording{Writer: w, player: r.player}, nil
}

type recording struct {
	spool.Writer
	player *player
	b      bytes.Buffer
}

func (r *recording) Write(b []byte) (int, error) {
	r.b.Write(b)
	return r.Writer.Write(b)
}

func (r *recording) Commit(ctx context.Context, c spool.Commit) error {
	kept := commit{Commit: c, content: string(c.Prepend) + r.b.String()}
	r.player.mu.Lock()
	r.player.commits = append(r.player.commits, kept)
	r.player.mu.Unlock()
	return r.Writer.Commit(ctx, c)
}

// noDNS is a resolver that never has an answer, so that mail for other hosts
// waits.
type noDNS struct{ delivery.Resolver }

func (noDNS) LookupMX(context.Context, string) (a delivery.Answer[*net.MX], err error) {
	return a, errNoDNS
}

var errNoDNS = errors.New("no DNS here")
