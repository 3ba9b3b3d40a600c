package smtpd

import (
	"strconv"
	"strings"

	"github.com/postern-mail/postern/connector"
)

// command answers a command, or returns what go-smtp is to read for it.
func (g *guard) command(line string) (feed string) {
	v, arg := verb(line)
	behind := g.dataRefused
	g.dataRefused = false
	if g.secondHeader(line) {
		g.refuse(
			Rejection{
				Stage: g.stage(),
				Reply: refusal(421, "4.7.0", "A second PROXY header, closing transmission channel"),
			},
		)
		return ""
	}
	switch v {
	case "EHLO", "HELO":
		return g.helo(v == "EHLO", arg)
	case "MAIL":
		return g.mail(arg)
	case "RCPT":
		return g.recipient(arg)
	case "DATA":
		return g.data(arg)
	case "BDAT":
		return g.bdat(arg)
	case "AUTH":
		return g.auth(arg)
	case "RSET":
		if !g.noArgument(arg) || !g.uselessCommand() {
			return ""
		}
		g.reset()
		g.reply(250, "2.0.0", "Resetting")
		return lineRset
	case "STARTTLS":
		g.startTLS(arg)
	case "NOOP":
		g.noop()
	case "XCLIENT":
		g.xclient(arg)
	case "VRFY":
		if g.uselessCommand() {
			g.reply(
				252, "2.5.0",
				"Cannot verify the user, but will accept message and attempt delivery",
			)
		}
	case "QUIT":
		if g.noArgument(arg) {
			g.unfinished(errQuit)
			g.goodbye(221, "2.0.0", "Service closing transmission channel")
		}
	case "EXPN", "HELP", "SEND", "SOML", "SAML", "TURN", "ETRN", "ATRN":
		g.protocolError(refusal(502, "5.5.1", "Command not implemented"))
	case "GET", "POST", "PUT", "CONNECT":
		// Somebody's browser is made to speak to us: what follows is not the
		// client's own.
		g.refuse(
			Rejection{Stage: g.stage(), Reply: refusal(421, "4.7.0", "This is not a web server")},
		)
	default:
		g.garbage(behind, refusal(500, "5.3.3", "Unrecognized command"))
	}
	return ""
}

// garbage refuses what is no command. Behind a refused DATA it is the content,
// whose other lines may look like commands.
func (g *guard) garbage(behindData bool, r *Reply) {
	if behindData {
		g.refuse(Rejection{Stage: "data", Reply: contentRefusal()})
		return
	}
	if g.uselessCommand() {
		g.protocolError(r)
	}
}

func contentRefusal() *Reply {
	return refusal(421, "4.7.0", "Content sent behind a refused DATA, closing transmission channel")
}

// reset forgets the transaction.
func (g *guard) reset() {
	g.transaction = nil
	g.pol.Memory.Give(g.held)
	g.held = 0
	g.mailRefused, g.rcptRefused = false, false
}

func (g *guard) noArgument(arg string) bool {
	if arg != "" {
		g.protocolError(badParam())
		return false
	}
	return true
}

// uselessCommand counts a command that brings no message forward.
func (g *guard) uselessCommand() bool {
	if g.useless++; g.useless > maxUseless {
		g.refuse(
			Rejection{
				Stage: g.stage(),
				Reply: refusal(421, "4.7.0", "Too many commands without a message"),
			},
		)
		return false
	}
	return true
}

func (g *guard) noop() {
	if g.uselessCommand() {
		g.reply(250, "2.0.0", "OK")
	}
}

func (g *guard) helo(esmtp bool, arg string) string {
	if !g.uselessCommand() {
		return ""
	}
	v := "HELO"
	if esmtp {
		v = "EHLO"
	}
	if !validHelo(arg) {
		g.malformed("helo", refusal(501, "5.5.4", "Invalid domain name"), v+" "+arg)
		return ""
	}
	if !IsHostName(arg) {
		g.tolerated(v, arg)
	}
	arg = strings.ToValidUTF8(arg, "?")
	// RFC 5321 section 4.1.4: a later EHLO acts as RSET.
	g.reset()
	if r := g.introduce(arg, esmtp); r != nil {
		g.refusedByBackend(Rejection{Stage: "helo", Reply: r})
		return lineRset
	}
	greeting := g.fqdn() + " Hello [" + g.sess.Remote.Addr().String() + "]"
	if !esmtp {
		g.reply(250, "", greeting)
		return lineHelo
	}
	last := len(g.out)
	g.out = appendReply(g.out, 250, "", greeting)
	for i, k := range keywords() {
		if on, value := g.offers(1 << i); on {
			g.out[last+3] = '-'
			last = len(g.out)
			g.out = appendReply(g.out, 250, "", k+value)
		}
	}
	return lineHelo
}

// introduce takes the name that the client goes by, unless it is refused.
func (g *guard) introduce(name string, esmtp bool) *Reply {
	was, wasESMTP := g.sess.Helo, g.sess.ESMTP
	g.sess.Helo, g.sess.ESMTP = name, esmtp
	r := g.ask(func() error { return g.pol.Backend.Helo(g.ctx, &g.sess) })
	if r == nil {
		r = g.watch(name)
	}
	if r != nil {
		g.sess.Helo, g.sess.ESMTP = was, wasESMTP
	}
	return r
}

// offers says whether an extension is offered in the present state of the
// session, and with what value.
func (g *guard) offers(e extensions) (on bool, value string) {
	if g.ext&e == 0 {
		return false, ""
	}
	l := &g.sess.Limits
	switch e {
	case extSize:
		if l.MaxMessageBytes > 0 {
			value = " " + strconv.FormatInt(l.MaxMessageBytes, 10)
		}
	case extStartTLS:
		return g.startTLSOffered(), ""
	case extAuth:
		if g.sess.Identity != nil || !g.authOffered() {
			return false, ""
		}
		for _, m := range g.pol.Auth.Mechanisms(g.saslConn()) {
			value += " " + string(m)
		}
		return value != "", value
	case extLimits:
		// RFC 9422.
		if l.MaxRecipients <= 0 {
			return false, ""
		}
		value = " RCPTMAX=" + strconv.Itoa(l.MaxRecipients)
	case extXClient:
		return g.offersXClient(), xclientAttributes
	}
	return true, value
}

func (g *guard) startTLSOffered() bool {
	return g.ext&extStartTLS != 0 && g.sess.TLS == nil && g.pol.TLS != nil &&
		g.sess.Connector.AuthMechanisms&connector.TLS != 0
}

// refusedByBackend sends a refusal of the backend, late when the client has not
// shown who it is.
func (g *guard) refusedByBackend(rej Rejection) {
	if rej.Reply.Code >= 500 && g.sess.Identity == nil {
		g.pause(g.sess.Limits.Tarpit)
	}
	g.refuseCounted(rej)
}

// refuseCounted sends a refusal that is no error of protocol.
func (g *guard) refuseCounted(rej Rejection) {
	if g.refused++; g.refused > maxRefused && rej.Reply.Code != 421 {
		rej.Reply = refusal(421, "4.7.0", "Too many refused commands on this connection")
	}
	g.refuse(rej)
}

func (g *guard) mail(arg string) string {
	switch {
	case g.sess.Helo == "":
		g.protocolErrorAt("mail", refusal(503, "5.5.1", "Send hello first"))
		return ""
	case g.transaction != nil:
		g.protocolErrorAt("mail", refusal(503, "5.5.1", "Sender already specified"))
		return ""
	}
	g.mailRefused, g.rcptRefused = true, false
	if r := DecideTLS(g.sess.Connector, g.sess.TLS != nil); r != nil {
		g.protocolErrorAt("mail", r)
		return ""
	}
	m, r := parseMail(g.completed(arg), g.ext)
	if r != nil {
		g.malformed("mail", r, "MAIL "+arg)
		return ""
	}
	if !strings.Contains(arg, "<") {
		g.tolerated("MAIL", arg)
	}
	if r := DecideSize(g.sess.Limits, g.sess.Rights, m.Size); r != nil {
		// Not an error of protocol: the client asked.
		g.refusedByBackend(Rejection{Stage: "mail", From: m.From.String(), Reply: r})
		return ""
	}
	g.transaction = m
	return g.expect(lineMail)
}

func tooLarge() *Reply {
	return Missing(
		refusal(552, "5.3.4", "Message size exceeds fixed maximum message size"),
		connector.BypassMessageSizeLimit,
	)
}

// completed returns the argument of MAIL or RCPT with the policy's domain where
// a user gave none.
func (g *guard) completed(arg string) string {
	if g.pol.CompleteDomain == "" || g.sess.Identity == nil {
		return arg
	}
	return completePath(arg, g.pol.CompleteDomain)
}

// expect hands a command to go-smtp and remembers that it must come back to the
// session.
func (g *guard) expect(line string) string {
	g.waiting = true
	return line
}

func (g *guard) doMail() bool {
	m := g.transaction
	if r := g.ask(func() error { return g.pol.Backend.Mail(g.ctx, &g.sess, m) }); r != nil {
		g.transaction = nil
		g.refusedByBackend(Rejection{Stage: "mail", Reply: r, From: m.From.String()})
		return false
	}
	g.mailRefused = false
	g.reply(250, "2.1.0", "Sender OK")
	return true
}

func (g *guard) recipient(arg string) string {
	m := g.transaction
	if m == nil {
		g.noTransaction("rcpt")
		return ""
	}
	rc, r := parseRcpt(g.completed(arg), g.ext, m)
	if r != nil {
		g.rcptRefused = true
		// One address of a list that somebody has typed: the others may be
		// good.
		g.refuseCounted(Rejection{Stage: "rcpt", Reply: r, Command: shown("RCPT " + arg)})
		return ""
	}
	if !strings.Contains(arg, "<") {
		g.tolerated("RCPT", arg)
	}
	if most := g.sess.Limits.MaxRecipients; most > 0 && len(m.Recipients) >= most {
		// RFC 5321 section 4.5.3.1.10: those accepted so far stand.
		g.refuse(
			Rejection{
				Stage: "rcpt", Reply: refusal(452, "4.5.3", "Too many recipients"),
				To: rc.To.String(),
			},
		)
		return ""
	}
	g.rcpt = rc
	return g.expect(lineRcpt)
}

func (g *guard) doRcpt() bool {
	m, rc := g.transaction, &g.rcpt
	r := g.ask(func() error { return g.pol.Backend.Rcpt(g.ctx, &g.sess, m, rc) })
	if r != nil {
		g.rcptRefused = true
		g.refusedByBackend(Rejection{Stage: "rcpt", Reply: r, To: rc.To.String()})
		return false
	}
	n := rc.memory(len(m.Recipients))
	if n > 0 && !g.pol.Memory.TakeSpare(n) {
		g.refuse(Rejection{Stage: "rcpt", Reply: noMemory(), To: rc.To.String()})
		return false
	}
	g.held += n
	m.Recipients = append(m.Recipients, *rc)
	g.rcpt = Rcpt{}
	g.reply(250, "2.1.5", "Recipient OK")
	return true
}

// noTransaction refuses a command that needs MAIL first. After a refused MAIL
// that is the ordinary course of pipelining, and no error of the client.
func (g *guard) noTransaction(stage string) {
	r := refusal(503, "5.5.1", "Need MAIL command first")
	if g.mailRefused {
		if g.uselessCommand() {
			g.refuse(Rejection{Stage: stage, Reply: r})
		}
		return
	}
	g.protocolErrorAt(stage, r)
}

// ready reports whether content may follow.
func (g *guard) ready() bool {
	switch {
	case g.transaction == nil:
		g.noTransaction("data")
	case len(g.transaction.Recipients) > 0:
		return true
	case g.rcptRefused:
		// RFC 2920 section 3.1: the recipients were refused, the client could
		// not know yet.
		if g.uselessCommand() {
			g.refuse(Rejection{Stage: "data", Reply: refusal(554, "5.5.1", "No valid recipients")})
		}
	default:
		g.protocolErrorAt("data", refusal(503, "5.5.1", "Need RCPT command first"))
	}
	return false
}

func (g *guard) data(arg string) string {
	m := g.transaction
	g.dataRefused = arg != "" || m == nil || len(m.Recipients) == 0 || m.Body == "BINARYMIME"
	if g.dataRefused && g.contentBehind() {
		g.refuse(Rejection{Stage: "data", Reply: contentRefusal()})
		return ""
	}
	if !g.noArgument(arg) || !g.ready() {
		return ""
	}
	if m.Body == "BINARYMIME" {
		// RFC 3030 section 3.
		g.protocolErrorAt("data", refusal(503, "5.5.1", "BINARYMIME needs BDAT"))
		return ""
	}
	g.content.begin(g)
	g.reply(354, "", "Start mail input; end with <CRLF>.<CRLF>")
	return g.expect(lineData)
}

// contentBehind reports whether the client has gone on without the reply to
// DATA, which is the last command of a group (RFC 2920 section 3.1): to take
// its content for commands would let whoever wrote that send mail. QUIT ends
// the session as well.
func (g *guard) contentBehind() bool {
	if g.r == g.w {
		_ = g.fill(g.deadline(dataPause), true) // the next read tells of an error
	}
	const quit = "QUIT\r\n"
	rest := g.in[g.r:g.w]
	n := min(len(rest), len(quit))
	return !strings.EqualFold(string(rest[:n]), quit[:n])
}

func (g *guard) bdat(arg string) string {
	size, last, ok := parseBdat(arg)
	if !ok {
		// The chunk cannot be told from commands: there is no going on (RFC
		// 3030 section 2).
		g.badChunk()
		return ""
	}
	if g.ext&extChunking == 0 {
		g.protocolErrorAt("data", refusal(502, "5.5.1", "Command not implemented"))
	} else if g.ready() {
		g.content.begin(g)
		g.content.chunk(size, last)
		return g.expect(lineData)
	}
	// The chunk follows a refused command as well.
	g.content.begin(g)
	g.content.chunk(size, true)
	if !g.hangup {
		g.content.drain()
	}
	if g.content.endless {
		g.hangup, g.linger = true, true
	}
	g.content.end()
	return ""
}

func (g *guard) badChunk() {
	g.refuse(
		Rejection{
			Stage: "data",
			Reply: refusal(501, "5.5.4", "Invalid chunk size, closing transmission channel"),
		},
	)
	g.hangup, g.linger = true, true
}

// doData gives the content to the backend and answers for it.
func (g *guard) doData() bool {
	c, m := &g.content, g.transaction
	var id string
	r := g.ask(func() (err error) {
		id, err = g.pol.Backend.Message(g.ctx, &g.sess, m, c)
		return err
	})
	drained := r == nil || r.Code != 421
	if drained {
		// Find the end of the content before anything is read as a command.
		c.drain()
	}
	g.reset()
	g.feed = dataEnd
	defer c.end()
	switch {
	case c.broken != nil:
		// There is no knowing where the content would have ended.
		g.hangup = true
		return false
	case c.aborted:
		return false
	case !drained:
	case c.verdict != nil:
		r = c.verdict
	case r == nil && !c.delivered:
		r = &Reply{
			Code: 451, Enhanced: "4.3.0", Text: "Temporary server error, please try again later",
			Cause: errUnread,
		}
	}
	if r != nil {
		rej := Rejection{Stage: "data", Reply: r, From: m.From.String()}
		g.refuse(rej)
		if c.endless {
			g.hangup, g.linger = true, true
		}
		return false
	}
	g.messages++
	g.errors, g.useless, g.refused = 0, 0, 0
	g.reply(250, "2.0.0", "Ok: queued as "+id)
	return true
}

// startTLS is RFC 3207.
func (g *guard) startTLS(arg string) {
	switch {
	case g.sess.TLS != nil:
		g.protocolError(refusal(503, "5.5.1", "TLS already active"))
		return
	case !g.startTLSOffered():
		g.protocolError(refusal(502, "5.5.1", "Command not implemented"))
		return
	case !g.noArgument(arg):
		return
	}
	g.reply(220, "2.0.0", "SMTP server ready")
	// Section 6: what was pipelined in clear text may be another's, and must
	// not be read inside TLS.
	if g.r < g.w {
		g.log.Warn("clear text behind STARTTLS dropped",
			"session", g.sess.ID, "remote", g.sess.Remote.Addr())
		g.errors++
		g.r, g.w = 0, 0
	}
	if g.flush() != nil || !g.handshake() {
		return
	}
	// Section 4.2: all that was learnt before is forgotten.
	g.reset()
	g.sess.Helo, g.sess.ESMTP = "", false
	g.sess.Identity, g.sess.Mechanism = nil, ""
	g.exchange = nil
	g.rights()
	g.handover = true
}

// authKnown says whether there is any AUTH for this session.
func (g *guard) authKnown() bool { return g.ext&extAuth != 0 && g.pol.Auth != nil }

// authOffered says whether AUTH may be used in the present state of the
// session.
func (g *guard) authOffered() bool {
	return g.authKnown() && DecideAuth(g.pol.Auth, g.sess.Connector, g.sess.TLS != nil) == nil
}

func (g *guard) auth(arg string) string {
	name, initial, _ := strings.Cut(arg, " ")
	switch {
	case g.sess.Helo == "":
		g.protocolErrorAt("auth", refusal(503, "5.5.1", "Send hello first"))
	case g.sess.Identity != nil:
		g.protocolErrorAt("auth", refusal(503, "5.5.1", "Already authenticated"))
	case g.transaction != nil:
		// RFC 4954 section 4.
		g.protocolErrorAt(
			"auth", refusal(503, "5.5.1", "AUTH is not allowed during a mail transaction"),
		)
	case !g.authKnown():
		g.protocolErrorAt("auth", NotOffered())
	default:
		if r := DecideAuth(g.pol.Auth, g.sess.Connector, g.sess.TLS != nil); r != nil {
			g.protocolErrorAt("auth", r)
			return ""
		}
		return g.beginExchange(strings.ToUpper(name), strings.TrimLeft(initial, " "))
	}
	return ""
}
