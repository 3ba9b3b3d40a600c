package simtest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/relaytest"
)

// dialogue is one connection of a peer.
type dialogue struct {
	*peer
	conn net.Conn
	in   *bufio.Reader
	step relaytest.Step

	out     []byte   // replies that are not written
	copies  []*taken // that they tell of
	octets  int      // until the connection ends; negative for never
	replies int      // the same

	mailed   bool
	to       []string
	content  []byte // in chunks
	messages int    // taken
	running  int    // octets of a refused chunk that are still to be run
}

var errHungUp = errors.New("simtest: the peer has hung up")

func newDialogue(p *peer, c net.Conn, session int) *dialogue {
	d := &dialogue{
		peer: p, conn: c, in: bufio.NewReaderSize(c, 64<<10), octets: -1, replies: -1,
	}
	d.step.Session = session
	w := p.world
	switch {
	case w.isCalm():
	case w.chance(0.03):
		d.octets = w.below(1500)
	case w.chance(0.03):
		d.replies = 1 + w.below(30)
	}
	return d
}

// run speaks until one of both has enough.
func (d *dialogue) run() {
	_, err := d.at(relaytest.Connect, reply(220, "", d.name+" ESMTP"))
	for err == nil {
		var line string
		if line, err = d.line(); err == nil {
			err = d.command(line)
		}
	}
}

// line reads a command, when all before are answered that can be.
func (d *dialogue) line() (string, error) {
	if d.in.Buffered() == 0 {
		if err := d.flush(); err != nil {
			return "", err
		}
	}
	line, err := d.in.ReadString('\n')
	if d.running > 0 && err == nil {
		if d.running -= len(line); line != harmless {
			d.world.t.Errorf("smuggled: %s was made to run %q, which stands in a message",
				d.name, line)
		}
	}
	return strings.TrimRight(line, "\r\n"), err
}

// harmless is the line with which a connection may find out that a peer runs
// what it refuses.
const harmless = "XSKIP\r\n"

func (d *dialogue) command(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO", "HELO":
		d.reset()
		_, err := d.at(relaytest.Hello, answer{})
		return err
	case "STARTTLS":
		return d.startTLS()
	case "MAIL":
		return d.mail(rest)
	case "RCPT":
		return d.rcpt(rest)
	case "DATA":
		return d.data()
	case "BDAT":
		return d.bdat(rest)
	case "RSET":
		d.reset()
		return d.say(reply(250, "2.0.0", "Reset"))
	case "NOOP":
		return d.say(reply(250, "2.0.0", "OK"))
	case "QUIT":
		_ = d.say(reply(221, "2.0.0", "Bye"))
		_ = d.flush()
		return errHungUp
	}
	return d.say(reply(500, "5.5.1", "Unknown"))
}

// at comes to a stage. It tells whether all is well there, and says so.
func (d *dialogue) at(s relaytest.Stage, well answer) (ok bool, err error) {
	d.step.Stage = s
	a := d.script(d.step)
	if a != (answer{}) {
		return false, d.give(a)
	}
	if s == relaytest.Hello {
		d.out = append(d.out, d.hello()...)
		return true, nil
	}
	return true, d.say(well)
}

func (d *dialogue) hello() string {
	list := []string{d.name}
	for name, offered := range map[string]bool{
		"PIPELINING": d.pipelining, "CHUNKING": d.chunking,
		"STARTTLS": d.tls != nil && !d.step.TLS,
	} {
		if offered {
			list = append(list, name)
		}
	}
	return "250-" + strings.Join(list, "\r\n250-") + "\r\n250-8BITMIME\r\n" +
		"250 ENHANCEDSTATUSCODES\r\n"
}

func (d *dialogue) startTLS() error {
	if d.tls == nil || d.step.TLS {
		return d.say(reply(503, "5.5.1", "Not now"))
	}
	if err := errors.Join(d.say(reply(220, "2.0.0", "Go ahead")), d.flush()); err != nil {
		return err
	}
	c := tls.Server(d.conn, d.tls)
	if err := c.Handshake(); err != nil {
		return err
	}
	d.conn, d.step.TLS = c, true
	d.in.Reset(c)
	return nil
}

func (d *dialogue) mail(rest string) error {
	if d.mailed {
		return d.say(reply(503, "5.5.1", "There is a sender"))
	}
	d.step.From, d.step.To = path(rest), ""
	d.step.Transaction++
	if d.most > 0 && d.messages >= d.most && !d.world.isCalm() {
		d.world.history.count(PeerLimits)
		return d.give(reply(421, "4.7.0", "Too many messages on this connection"))
	}
	ok, err := d.at(relaytest.Mail, reply(250, "2.1.0", "Sender taken"))
	d.mailed = ok
	return err
}

func (d *dialogue) rcpt(rest string) error {
	if !d.mailed {
		return d.say(reply(503, "5.5.1", "There is no sender"))
	}
	d.step.To = path(rest)
	ok, err := d.at(relaytest.Rcpt, reply(250, "2.1.5", "Recipient taken"))
	if ok {
		d.to = append(d.to, d.step.To)
	}
	return err
}

// path is the address in a command.
func path(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}

func (d *dialogue) data() error {
	if len(d.to) == 0 {
		return d.say(reply(503, "5.5.1", "There is no recipient"))
	}
	if err := errors.Join(d.say(reply(354, "", "Go ahead")), d.flush()); err != nil {
		return err
	}
	for {
		line, err := d.in.ReadString('\n')
		switch {
		case err != nil:
			return err
		case line == ".\r\n":
			return d.finish()
		}
		d.content = append(d.content, strings.TrimPrefix(line, ".")...)
	}
}

func (d *dialogue) bdat(rest string) error {
	size, last, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(size)
	switch {
	case err != nil || !d.chunking:
		return d.say(reply(500, "5.5.1", "Unknown"))
	case len(d.to) == 0 && d.runs:
		d.running = n
		return d.say(reply(503, "5.5.1", "There is no recipient"))
	case len(d.to) == 0:
		if _, err := io.CopyN(io.Discard, d.in, int64(n)); err != nil {
			return err
		}
		return d.say(reply(503, "5.5.1", "There is no recipient"))
	}
	at := len(d.content)
	d.content = append(d.content, make([]byte, n)...)
	if _, err := io.ReadFull(d.in, d.content[at:]); err != nil {
		return err
	}
	if strings.EqualFold(last, "LAST") {
		return d.finish()
	}
	return d.part()
}

// part answers a chunk that others follow.
func (d *dialogue) part() error {
	if !d.world.isCalm() && d.world.chance(0.3) {
		d.world.history.count(PeerDefers)
		d.reset()
		return d.say(reply(452, "4.3.1", "No room"))
	}
	return d.say(reply(250, "2.0.0", "Chunk taken"))
}

// finish answers for content that has come.
func (d *dialogue) finish() error {
	w := d.world
	time.Sleep(d.work)
	if d.hasMore() {
		w.history.goAhead()
	}
	d.step.Stage, d.step.To = relaytest.Content, d.to[0]
	a := d.script(d.step)
	var copies []*taken
	if a == (answer{}) || a.takes {
		node := nodeAt(d.conn.RemoteAddr().(*net.TCPAddr).AddrPort())
		w.strike(node)
		for _, to := range d.to {
			copies = append(copies, w.history.take(to, string(d.content), taken{
				at: time.Now(), from: d.step.From, host: d.address, node: node,
			}))
		}
	}
	d.reset()
	if a != (answer{}) {
		return d.give(a)
	}
	d.messages++
	if !d.world.isUnheard(d.name, d.step.Session) {
		d.copies = append(d.copies, copies...)
	}
	return d.say(reply(250, "2.0.0", "Message taken"))
}

// hasMore tells whether something has come behind the content, which nobody has
// answered.
func (d *dialogue) hasMore() bool {
	_ = d.conn.SetReadDeadline(time.Now().Add(time.Microsecond))
	_, err := d.in.Peek(1)
	_ = d.conn.SetReadDeadline(time.Time{})
	return err == nil
}

func (d *dialogue) reset() { d.mailed, d.to, d.content = false, nil, nil }
