package smtpd

import (
	"bytes"
	"io"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/internal/policy"
)

// dataPause is how long the refusal of DATA waits for content that a client
// sends without it.
const dataPause = 100 * time.Millisecond

func (c *conn) data(arg string) {
	m := c.tx.mail
	c.tx.dataRefused = arg != "" || c.tx.empty() || m.Body == "BINARYMIME"
	if c.tx.dataRefused && c.contentBehind() {
		c.refuse(Rejection{Stage: "data", Reply: contentRefusal()})
		return
	}
	if !c.noArgument(arg) || !c.ready() {
		return
	}
	if m.Body == "BINARYMIME" {
		// RFC 3030 section 3.
		c.protocolErrorAt("data", policy.BinaryNeedsBDAT.Reply())
		return
	}
	b := newContent(c)
	b.framing = &dotted{content: b, bol: true}
	c.reply(354, "", "Start mail input; end with <CRLF>.<CRLF>")
	c.receive(b)
}

// contentBehind reports whether the client has gone on without the reply to
// DATA, which is the last command of a group (RFC 2920 section 3.1): to take
// its content for commands would let whoever wrote that send mail. QUIT ends
// the session as well.
func (c *conn) contentBehind() bool {
	if c.wire.in.empty() {
		_ = c.wire.fill(c.wire.deadline(dataPause), true) // the next read tells of an error
	}
	const quit = "QUIT\r\n"
	rest := c.wire.in.pending()
	n := min(len(rest), len(quit))
	return !strings.EqualFold(string(rest[:n]), quit[:n])
}

// dotted is content as DATA brings it (RFC 5321 section 4.5.2).
type dotted struct {
	content *content
	bol     bool // the next octet begins a line
	need    bool // more input is needed to decide on what is there
}

func (d *dotted) next() ([]byte, error) {
	in := d.content.input()
	for !d.content.ended {
		if d.need || in.empty() {
			if err := d.content.fill(); err != nil {
				return nil, err
			}
			d.need = false
		}
		b := in.pending()
		out, used := d.undot(b)
		in.take(used)
		d.need = used < len(b)
		if out > 0 {
			return b[:out], nil
		}
	}
	return nil, io.EOF
}

// finish has nothing to announce: only the end ends DATA.
func (d *dotted) finish() int64 { return 0 }

// undot takes dot-stuffing out of b in place and looks for the end of the
// content. It returns how much clean content is at the start of b and how much
// of b is used up; what is left must be seen again together with what follows.
// Only CRLF.CRLF ends the content: a lone CR or LF does not begin a line.
func (d *dotted) undot(b []byte) (out, used int) {
	for used < len(b) {
		if d.bol && b[used] == '.' {
			switch rest := b[used:]; {
			case len(rest) < 2, len(rest) == 2 && rest[1] == '\r':
				return out, used
			case rest[1] == '\r' && rest[2] == '\n':
				d.content.ended = true
				return out, used + 3
			}
			used++
		}
		line := b[used:]
		if i := bytes.Index(line, []byte("\r\n.")); i >= 0 {
			line, d.bol = line[:i+2], true
		} else {
			d.bol = bytes.HasSuffix(line, []byte("\r\n"))
			if line[len(line)-1] == '\r' {
				// The CR is part of an end of line, or not: the next octet
				// tells.
				line = line[:len(line)-1]
			}
		}
		if out != used {
			copy(b[out:], line)
		}
		out += len(line)
		used += len(line)
		if used == len(b)-1 && b[used] == '\r' {
			break
		}
	}
	return out, used
}
