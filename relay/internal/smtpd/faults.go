package smtpd

import (
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
)

const (
	maxUseless = 100 // commands that bring no message forward
	maxRefused = 100 // senders and recipients refused since the last message
)

// protocolError refuses a command that the client should not have sent.
func (c *conn) protocolError(r *policy.Reply) { c.protocolErrorAt(c.stage(), r) }

func (c *conn) protocolErrorAt(stage string, r *policy.Reply) {
	c.refuseError(Rejection{Stage: stage, Reply: r})
}

// malformed is protocolErrorAt for a command that holds no secret.
func (c *conn) malformed(stage string, r *policy.Reply, command string) {
	c.refuseError(Rejection{Stage: stage, Reply: r, Command: shown(command)})
}

func (c *conn) refuseError(rej Rejection) {
	c.count.errors++
	if most := c.sess.Limits.MaxProtocolErrors; most >= 0 && c.count.errors > most {
		rej.Reply = policy.TooManyErrors.Reply()
	}
	c.refuse(rej)
}

// refusedByBackend sends a refusal of the backend, late when the client has not
// shown who it is.
func (c *conn) refusedByBackend(rej Rejection) {
	if rej.Reply.Code >= 500 && c.sess.Identity == nil {
		c.pause(c.sess.Limits.Tarpit)
	}
	c.refuseCounted(rej)
}

// refuseCounted sends a refusal that is no error of protocol.
func (c *conn) refuseCounted(rej Rejection) {
	if c.count.refused++; c.count.refused > maxRefused && rej.Reply.Code != 421 {
		rej.Reply = policy.TooManyRefused.Reply()
	}
	c.refuse(rej)
}

// useless counts a command that brings no message forward, and reports whether
// it may be carried out.
func (c *conn) useless() bool {
	if c.count.useless++; c.count.useless > maxUseless {
		c.refuse(Rejection{Stage: c.stage(), Reply: policy.TooManyUseless.Reply()})
		return false
	}
	return true
}

// garbage refuses what is no command. Behind a refused DATA it is the content,
// whose other lines may look like commands.
func (c *conn) garbage(behindData bool, r *policy.Reply) {
	if behindData {
		c.refuse(Rejection{Stage: "data", Reply: contentRefusal()})
		return
	}
	if c.useless() {
		c.protocolError(r)
	}
}

func notImplemented() *policy.Reply { return policy.NotImplemented.Reply() }

func contentRefusal() *policy.Reply {
	return policy.ContentBehindData.Reply()
}

// noArgument refuses an argument where there is none.
func (c *conn) noArgument(arg string) bool {
	if arg != "" {
		c.protocolError(badParam())
		return false
	}
	return true
}

// pause holds a refusal back from a client that has not shown who it is.
func (c *conn) pause(d time.Duration) {
	if d <= 0 || c.wire.hangup {
		return
	}
	defer c.srv.paused.Add(-1)
	if c.srv.paused.Add(1) > maxPaused || c.wire.flush() != nil {
		return
	}
	if until := c.wire.deadline(d); !until.IsZero() {
		d = time.Until(until)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}

// tolerated tells the log of a command that is taken though it is malformed,
// once for a verb: enough to find a device by.
func (c *conn) tolerated(verb, arg string) {
	if !strings.Contains(c.odd, verb) {
		c.odd += verb
		c.log.Info("malformed command taken", logkey.Session, c.sess.ID, logkey.Connector,
			c.sess.Connector.Name, logkey.Remote, c.sess.Remote.Addr(), logkey.Command, shown(
				verb+" "+arg,
			))
	}
}

// maxShown bounds what the log is told of a command.
const maxShown = 128

// shown shortens a command and escapes what is no printable text. The AUTH
// parameter stays out: a confused client may put a password there.
func shown(command string) string {
	dots := ""
	const auth = "AUTH="
	for i := range max(len(command)-len(auth), 0) {
		if strings.EqualFold(command[i:i+len(auth)], auth) {
			command, dots = command[:i+len(auth)], "..."
			break
		}
	}
	if len(command) > maxShown {
		command, dots = command[:maxShown], "..."
	}
	quoted := strconv.Quote(command)
	return quoted[1:len(quoted)-1] + dots
}
