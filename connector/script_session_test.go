package connector_test

import (
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
)

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
	p.query = relay.ExplainQuery{
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
			p.query.Remote.Addr(), p.query.Local.Addr(),
			p.query.Remote.Port(), p.query.Local.Port())
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

func (p *player) explain(l scriptLine, q relay.ExplainQuery) *relay.Explanation {
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

// path is what follows FROM: or TO:, as it stands if it begins with a bracket,
// else the first word in brackets, and the address as Explain wants it, if it
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
			e.Route.String() != strings.TrimSpace(route) {
			p.t.Errorf("%s: route %q", l.at, e.Route)
		}
	}
	if l.want, ok = strings.CutPrefix(l.want, "250"); ok {
		l.want = "250"
	}
	if p.reply(l, p.conn.say("RCPT TO:"+path), want) && e != nil {
		p.routes[addr] = e.Route.String()
	}
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

func rightsOf(e *relay.Explanation) (r connector.Right) {
	for _, s := range e.Rights {
		if s.Granted {
			r |= s.Right
		}
	}
	return r
}
