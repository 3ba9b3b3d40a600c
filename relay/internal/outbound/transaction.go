package outbound

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/postern-mail/postern/relay/internal/sevenbit"
)

// Bounds of what is written before replies are read: replies to it must fit
// into the buffers between the two sides, or both could wait for the other for
// ever (RFC 2920 section 3.1).
const (
	maxBatch      = 100     // recipients
	maxBatchBytes = 8 << 10 // of commands
	maxChunks     = 8       // BDAT chunks
)

var (
	errTooLarge = errors.New("message is larger than the peer takes")
	errUTF8     = errors.New("message needs SMTPUTF8, which the peer does not offer")
)

// verdict is what a transaction came to.
type verdict uint8

const (
	settled  verdict = iota // the recipients asked have their results
	broken                  // the connection was lost on the way: transaction.lost tells why
	noChunks                // the peer has offered CHUNKING and does not know BDAT
	noPipes                 // the peer has offered PIPELINING and answered out of order
	tooMany                 // the connection was lost over more recipients than conn.maxRcpt
)

// transaction delivers one request, in one mail transaction or more. Its memory
// is used again.
type transaction struct {
	req  *Request
	res  []Result // without Op: not decided
	utf8 bool     // there is an address that is not ASCII
	// todo are the recipients still to be asked, accepted those taken in this
	// transaction, over those of which the peer says that they are too many for
	// it. All are indexes into res.
	todo, accepted, over []int
	asked                int // of todo, in this transaction
	due                  due
	mailed               bool // MAIL was accepted
	ended                bool // the end of the content may have reached the peer
	delivered            bool // the message was taken for somebody
	lost                 Result
	body                 content
	plan                 *sevenbit.Plan // of the content, once a peer has made it necessary
	seven                bool           // the content goes out as 7-bit MIME
	keep                 bool           // with its headers as they are
	signed               bool           // signatures is of the converted content
	signatures           []byte
}

// begin checks what will stand on the wire: no octet of a request can end a
// line or a path there.
func (t *transaction) begin(r *Request) {
	t.req, t.res, t.utf8, t.plan = r, make([]Result, len(r.Recipients)), !isASCII(r.From), nil
	t.keep, t.signed, t.signatures = false, false, nil
	t.todo = t.todo[:0]
	for i := range r.Recipients {
		rcpt := &r.Recipients[i]
		switch {
		case rcpt.Address == "" || !fitAddress(rcpt.Address) || !fitAddress(rcpt.ASCII):
			t.res[i] = Result{Outcome: Permanent, Op: "rcpt", Enhanced: "5.1.3", Err: errAddress}
		case !fitWord(rcpt.Notify) || !fitText(rcpt.ORCPT) || len(rcpt.ORCPT) > maxPath:
			t.res[i] = Result{Outcome: Permanent, Op: "rcpt", Enhanced: "5.5.4", Err: errParameter}
		default:
			t.utf8 = t.utf8 || !isASCII(rcpt.Address)
			t.todo = append(t.todo, i)
		}
	}
	switch {
	case !fitAddress(r.From) || !fitAddress(r.FromASCII):
		t.give(Result{Outcome: Permanent, Op: "mail", Enhanced: "5.1.7", Err: errAddress})
	case !fitText(r.EnvelopeID) || len(r.EnvelopeID) > maxPath || !fitWord(r.Return):
		t.give(Result{Outcome: Permanent, Op: "mail", Enhanced: "5.5.4", Err: errParameter})
	}
}

// give settles all that is undecided.
func (t *transaction) give(r Result) {
	for _, i := range t.todo {
		if t.res[i].Op == "" {
			t.res[i] = r
		}
	}
	t.todo = t.todo[:0]
}

// settle gives the same result to the recipients listed.
func (t *transaction) settle(list []int, r Result) {
	for _, i := range list {
		t.res[i] = r
	}
}

// stop notes that the connection broke, or was given up.
func (t *transaction) stop(ctx context.Context, c *conn, op string, err error) verdict {
	c.bad = true
	t.lost = *lost(ctx, op, "4.4.2", err)
	t.lost.Host = c.host
	return broken
}

// closing notes that the peer gives the connection up, with a reply that says
// so.
func (t *transaction) closing(c *conn, op string, rep *reply) verdict {
	c.bad = true
	t.lost = answered(c, op, rep)
	t.lost.Outcome = Temporary
	return broken
}

// answered is the result a reply means for a recipient.
func answered(c *conn, op string, rep *reply) Result {
	r := refused(op, rep)
	r.Host, r.DSN = c.host, c.ext.dsn
	switch {
	case rep.class() == 2:
		r.Outcome, r.Err = Delivered, nil
	case rep.code == 530 && c.fellBack:
		r.Outcome = Temporary // RFC 3207 section 4: the peer insists on TLS, which is out of order
	}
	return r
}

// run makes one mail transaction for the recipients in todo. When they are
// settled, todo has those that need another.
func (t *transaction) run(ctx context.Context, c *conn) verdict {
	t.mailed, t.ended, t.delivered = false, false, false
	t.accepted, t.over = t.accepted[:0], t.over[:0]
	for _, i := range t.todo {
		t.res[i] = Result{}
	}
	c.used++
	defer t.body.close()
	if !t.admit(ctx, c) {
		return settled
	}
	asked := t.todo
	for _, n := range []int{c.ext.maxRcpt, c.maxRcpt} {
		if n > 0 && n < len(asked) {
			asked = asked[:n]
		}
	}
	t.asked = len(asked)
	switch v := t.transact(ctx, c, asked); {
	case v == broken && !t.ended && 0 < c.maxRcpt && c.maxRcpt < len(asked):
		return tooMany
	case v != settled:
		return v
	}
	later := t.todo[t.asked:]
	switch {
	case t.delivered || t.mailed && (len(t.accepted) == 0 || t.req.Hop.LMTP):
		t.over = append(t.over, later...)
	case len(t.accepted) > 0:
		t.settle(later, t.res[t.accepted[0]]) // the content was refused, and would be again
		t.over = t.over[:0]
	default:
		t.settle(later, t.res[asked[0]]) // as was the sender
	}
	t.todo = append(t.todo[:0], t.over...)
	return settled
}

func (t *transaction) transact(ctx context.Context, c *conn, asked []int) verdict {
	data := !c.ext.chunking
	if v, ok := t.envelope(ctx, c, asked, data); !ok {
		return v
	}
	if data {
		return t.sendData(ctx, c)
	}
	return t.sendChunks(ctx, c)
}

// admit decides, before a word is said, whether the peer can take the message,
// and settles those it cannot be taken for.
func (t *transaction) admit(ctx context.Context, c *conn) bool {
	r := t.req
	var failed Result
	switch {
	case c.ext.maxSize > 0 && r.Size > c.ext.maxSize: // RFC 1870 section 6.1
		failed = Result{Outcome: Permanent, Op: "mail", Enhanced: "5.3.4", Err: errTooLarge}
	case t.utf8 && !c.ext.utf8 && !isASCII(c.spell(r.From, r.FromASCII)): // RFC 6531 section 3.2
		failed = Result{Outcome: Permanent, Op: "mail", Enhanced: "5.6.7", Err: errUTF8}
	default:
		if failed = t.convert(ctx, c); failed.Op != "" {
			break
		}
		if err := t.open(ctx); err != nil {
			failed = *lost(ctx, "content", "4.3.0", err)
		} else if r.UTF8 && !c.ext.utf8 && !t.body.asciiHeader() {
			failed = t.eightHeader(ctx)
		}
	}
	if failed.Op != "" {
		failed.Host = c.host
		t.give(failed)
	} else if t.utf8 && !c.ext.utf8 {
		t.todo = slices.DeleteFunc(t.todo, func(i int) bool {
			if rcpt := &r.Recipients[i]; isASCII(c.spell(rcpt.Address, rcpt.ASCII)) {
				return false
			}
			t.res[i] = Result{
				Outcome: Permanent, Op: "rcpt", Enhanced: "5.6.7", Host: c.host, Err: errUTF8,
			}
			return true
		})
	}
	return len(t.todo) > 0
}

// convert decides whether the content goes to the peer as 7-bit MIME (RFC 6152
// section 3, RFC 3030 section 3). Only if the peer may make that necessary is
// the content read for it: what was declared need not be so.
func (t *transaction) convert(ctx context.Context, c *conn) (failed Result) {
	r := t.req
	binary := r.Body == "BINARYMIME"
	t.seven = false
	// RFC 6531 section 3.1
	if binary && c.ext.binary && c.ext.chunking || !binary && (c.ext.eightBit || c.ext.utf8) {
		return Result{}
	}
	if err := t.scan(ctx); err != nil {
		return *lost(ctx, "content", "4.3.0", err)
	}
	if !binary && !t.plan.Eight() {
		return Result{}
	}
	keyword := "8BITMIME"
	if binary {
		keyword = "BINARYMIME"
	}
	if err := t.plan.Err(); err != nil {
		return Result{
			Outcome: Permanent, Op: "mail", Enhanced: "5.6.3",
			Err: fmt.Errorf("the peer does not offer %s: %w", keyword, err),
		}
	}
	if r.UTF8 && !c.ext.utf8 && t.plan.EightHeader() { // RFC 6531 section 3.2
		return Result{Outcome: Permanent, Op: "mail", Enhanced: "5.6.7", Err: errUTF8}
	}
	if keep := r.UTF8 && c.ext.utf8; keep != t.keep {
		t.keep, t.signed, t.signatures = keep, false, nil
	}
	t.seven = true
	return Result{}
}

// scan reads the content once to know what is in it.
func (t *transaction) scan(ctx context.Context) error {
	if t.plan != nil {
		return nil
	}
	src, err := t.unsigned(ctx)
	if err != nil {
		return err
	}
	defer src.Close()
	t.plan, err = sevenbit.Scan(src)
	return err
}

// eightHeader is the failure of a header that needs SMTPUTF8, if it does: one
// that is longer than a block is read for that.
func (t *transaction) eightHeader(ctx context.Context) (failed Result) {
	if err := t.scan(ctx); err != nil {
		return *lost(ctx, "content", "4.3.0", err)
	}
	if t.plan.EightHeader() {
		failed = Result{Outcome: Permanent, Op: "mail", Enhanced: "5.6.7", Err: errUTF8}
	}
	return failed
}

// asciiHeader tells whether the header is known to be ASCII.
func (c *content) asciiHeader() bool {
	b := c.block()
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		b = b[:i]
	} else if !c.last {
		return false
	}
	for _, x := range b {
		if x >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// envelope sends MAIL and RCPT, and DATA with data. With PIPELINING all of it
// goes out at once. ok tells that the content comes next; else the verdict
// stands.
func (t *transaction) envelope(
	ctx context.Context, c *conn, asked []int, data bool,
) (v verdict, ok bool) {
	pipe := c.ext.pipelining
	c.out = c.out[:0]
	t.due = due{rset: c.open}
	if c.open {
		c.out = append(c.out, "RSET\r\n"...) // what the transaction before has left behind
		if !pipe {
			if v, ok := t.exchange(ctx, c, asked, 0); !ok {
				return v, false
			}
		}
	}
	t.appendMail(c)
	t.due.mail = true
	if !pipe {
		if v, ok := t.exchange(ctx, c, asked, 0); !ok {
			return v, false
		}
	}
	for k := range asked {
		t.appendRcpt(c, asked[k])
		end := k == len(asked)-1
		if pipe && !end && k+1-t.due.next < maxBatch && len(c.out) < maxBatchBytes {
			continue
		}
		if t.due.data = pipe && end && data; t.due.data {
			c.out = append(c.out, "DATA\r\n"...)
		}
		if v, ok := t.exchange(ctx, c, asked, k+1); !ok {
			return v, false
		}
		if len(t.over) > 0 { // the others are for the next transaction
			t.asked = k + 1
			break
		}
	}
	if !data || len(t.accepted) == 0 && !t.due.data {
		return settled, len(t.accepted) > 0
	}
	if !t.due.data {
		c.out = append(c.out, "DATA\r\n"...)
		if err := c.flush(); err != nil {
			return t.unwritten(ctx, c, "data", err), false
		}
	}
	return t.data(ctx, c)
}

// due says which replies are outstanding.
type due struct {
	rset, mail, data bool
	next             int // the first recipient without
}

// exchange writes the commands that have gathered and reads the replies to
// them, up to that of the recipient before upto. A reply to DATA is left.
func (t *transaction) exchange(
	ctx context.Context, c *conn, asked []int, upto int,
) (v verdict, ok bool) {
	op := "rcpt"
	if t.due.rset || t.due.mail {
		op = "mail"
	}
	if err := c.flush(); err != nil {
		return t.unwritten(ctx, c, op, err), false
	}
	if t.due.rset {
		rep, err := c.read(c.times.CommandTimeout, nil)
		if err != nil {
			return t.stop(ctx, c, op, err), false
		}
		if rep.class() != 2 {
			return t.closing(c, op, rep), false
		}
		t.due.rset, c.open = false, false
	}
	if t.due.mail {
		rep, err := c.read(c.times.CommandTimeout, nil)
		switch {
		case err != nil:
			return t.stop(ctx, c, op, err), false
		case rep.code == 421 || rep.code == 432 || rep.class() != 2 && c.used > 1:
			// It speaks of the connection, or may do so.
			return t.closing(c, op, rep), false
		case c.outOfOrder(rep):
			t.closing(c, op, rep)
			return noPipes, false
		case rep.class() != 2:
			t.settle(asked, answered(c, op, rep))
			t.skip(c, upto)
			return settled, false
		}
		t.due.mail, t.mailed, c.open = false, true, true
	}
	for ; t.due.next < upto; t.due.next++ {
		rep, err := c.read(c.times.CommandTimeout, nil)
		if err != nil {
			return t.stop(ctx, c, "rcpt", err), false
		}
		if c.stale(rep) {
			return t.closing(c, "rcpt", rep), false
		}
		if c.outOfOrder(rep) {
			t.closing(c, "rcpt", rep)
			return noPipes, false
		}
		if rep.code == 421 {
			if len(t.accepted) > 0 && len(t.over) == 0 {
				c.maxRcpt = len(t.accepted)
			}
			return t.closing(c, "rcpt", rep), false
		}
		t.recipient(c, asked[t.due.next], rep)
	}
	return settled, true
}

// recipient takes the reply to a RCPT. One that is refused as too many belongs
// into another transaction (RFC 5321 section 4.5.3.1.10), and those taken
// before it are as many as the peer takes, unless it takes another behind it.
func (t *transaction) recipient(c *conn, i int, rep *reply) {
	if rep.class() == 2 {
		t.accepted = append(t.accepted, i)
		if len(t.over) > 0 {
			c.maxRcpt = 0
		}
		return
	}
	t.res[i] = answered(c, "rcpt", rep)
	switch {
	case !fullUp(rep):
	case len(t.accepted) == 0:
		t.res[i].Outcome = Temporary
		c.maxRcpt = 0 // it is not the number
	default:
		t.res[i].Outcome = Temporary
		if t.over = append(t.over, i); len(t.over) == 1 {
			c.maxRcpt = len(t.accepted)
		}
	}
}

// fullUp tells whether a reply to RCPT may mean that there are too many
// recipients. RFC 821 gave 552 for that, which counts as 452 (RFC 5321 section
// 4.5.3.1.10). An enhanced code about the address or the mailbox, x.1 and x.2,
// speaks of the recipient.
func fullUp(rep *reply) bool {
	switch e := rep.enhanced; {
	case len(e) == 0:
		return rep.code == 452 || rep.code == 552
	case string(e[1:]) == ".5.3":
		return true
	default:
		return rep.code == 452 && e[2] != '1' && e[2] != '2'
	}
}

// skip reads the replies to what was written behind a MAIL that is refused.
func (t *transaction) skip(c *conn, replies int) {
	if t.due.data {
		replies++
	}
	for range replies {
		rep, err := c.read(c.times.CommandTimeout, nil)
		if err != nil || rep.class() == 3 {
			c.bad = true // the peer waits for content that is for nobody
			return
		}
	}
}

// data reads the reply to DATA.
func (t *transaction) data(ctx context.Context, c *conn) (verdict, bool) {
	rep, err := c.read(c.times.CommandTimeout, nil)
	if err != nil {
		if len(t.accepted) == 0 {
			return settled, false
		}
		return t.stop(ctx, c, "data", err), false
	}
	if rep.code == 354 && len(t.accepted) > 0 {
		return settled, true
	}
	if rep.class() < 4 {
		// Out of step, or waiting for the content of a message that nobody gets
		// (RFC 2920 section 3.1).
		c.bad = true
	}
	if len(t.accepted) > 0 && (rep.code == 421 || c.stale(rep)) {
		return t.closing(c, "data", rep), false
	}
	if len(t.accepted) > 0 && c.outOfOrder(rep) {
		t.closing(c, "data", rep)
		return noPipes, false
	}
	if len(t.accepted) > 0 {
		t.refuse(c, rep)
	}
	return settled, false
}

// refuse settles those accepted with a reply that cannot mean that the message
// was taken.
func (t *transaction) refuse(c *conn, rep *reply) {
	r := answered(c, "data", rep)
	if r.Outcome == Delivered {
		r.Outcome, r.Err = Temporary, errOutOfPlace
	}
	t.settle(t.accepted, r)
}

// sendData sends the content with dot-stuffing.
func (t *transaction) sendData(ctx context.Context, c *conn) verdict {
	for {
		b, err := t.body.lines()
		if err != nil {
			return t.unfit(c, err)
		}
		t.ended = t.body.last
		if err := c.write(b, c.times.WriteTimeout); err != nil {
			return t.unwritten(ctx, c, "content", err)
		}
		if t.body.last {
			return t.final(ctx, c)
		}
		if err := t.body.next(); err != nil {
			return t.unread(ctx, c, err)
		}
	}
}

// sendChunks sends the content as it is stored (RFC 3030). The first chunk
// waits for the replies to RCPT although the standard allows otherwise: a peer
// that takes no recipient and does not skip the chunk would run it as commands.
func (t *transaction) sendChunks(ctx context.Context, c *conn) verdict {
	for outstanding := 1; ; outstanding++ {
		b, err := t.body.chunk()
		if err != nil {
			return t.unfit(c, err)
		}
		t.ended = t.body.last
		if err := c.write(b, c.times.WriteTimeout); err != nil {
			return t.unwritten(ctx, c, "content", err)
		}
		allowed := maxChunks
		switch {
		case t.body.last:
			allowed = 1 // the final one
		case !c.ext.pipelining:
			allowed = 0
		}
		for ; outstanding > allowed; outstanding-- {
			rep, err := c.read(c.times.CommandTimeout, nil)
			if err != nil {
				return t.stop(ctx, c, "data", err)
			}
			if rep.class() == 2 {
				continue
			}
			c.bad = true // chunks may be on their way
			if unknown(rep) {
				return t.unknown(c, rep)
			}
			t.refuse(c, rep)
			return settled
		}
		if t.body.last {
			return t.final(ctx, c)
		}
		if err := t.body.next(); err != nil {
			return t.unread(ctx, c, err)
		}
	}
}

// unknown tells that a command is not known, or known and not implemented.
func unknown(rep *reply) bool {
	return rep.code == 500 || rep.code == 502 || rep.code == 504
}

// unknown gives the connection up: a peer that does not know BDAT has taken the
// content for commands.
func (t *transaction) unknown(c *conn, rep *reply) verdict {
	t.closing(c, "data", rep)
	return noChunks
}

// final reads what becomes of the message: one reply, with LMTP one for every
// recipient accepted (RFC 2033 section 4.2).
func (t *transaction) final(ctx context.Context, c *conn) verdict {
	if !t.req.Hop.LMTP {
		rep, err := c.read(c.times.FinalTimeout, nil)
		if err != nil {
			return t.stop(ctx, c, "data", err)
		}
		if c.ext.chunking && unknown(rep) {
			return t.unknown(c, rep)
		}
		c.open = false
		t.conclude(c, "data", t.accepted, rep)
		return settled
	}
	for k := range t.accepted {
		rep, err := c.read(c.times.FinalTimeout, nil)
		if err != nil {
			t.stop(ctx, c, "lmtp", err)
			t.settle(t.accepted[k:], t.lost)
			return settled
		}
		if k == 0 && c.ext.chunking && unknown(rep) {
			return t.unknown(c, rep)
		}
		t.conclude(c, "lmtp", t.accepted[k:k+1], rep)
		if rep.code == 421 {
			t.settle(t.accepted[k:], t.res[t.accepted[k]])
			return settled
		}
	}
	c.open = false
	return settled
}

func (t *transaction) conclude(c *conn, op string, list []int, rep *reply) {
	r := answered(c, op, rep)
	if r.Outcome == Delivered {
		t.delivered = true
	} else if rep.class() == 3 {
		c.bad = true
	}
	t.settle(list, r)
}

// unwritten looks, when a write has failed, for the reply with which the peer
// has closed: "552 too large" in the midst of the content says more than a
// reset.
func (t *transaction) unwritten(ctx context.Context, c *conn, op string, err error) verdict {
	for range maxBatch + maxChunks {
		if ctx.Err() != nil {
			break
		}
		rep, rerr := c.read(min(pendingReply, c.times.CommandTimeout), nil)
		if rerr != nil {
			break
		}
		switch {
		case rep.class() < 4:
			continue // to something before
		case op == "content" && rep.code != 421:
			c.bad = true
			t.refuse(c, rep)
			return settled
		}
		c.bad = true
		return t.closing(c, op, rep)
	}
	return t.stop(ctx, c, op, err)
}

// unfit gives up in the midst of a content that cannot go on. The connection
// closes short of its end, and the peer drops what it has.
func (t *transaction) unfit(c *conn, err error) verdict {
	c.bad = true
	t.settle(t.accepted, Result{
		Outcome: Permanent, Op: "content", Enhanced: "5.6.11", Host: c.host, Err: err,
	})
	return settled
}

// unread gives up in the midst of the content because it cannot be read on.
func (t *transaction) unread(ctx context.Context, c *conn, err error) verdict {
	c.bad = true
	r := *lost(ctx, "content", "4.3.0", err)
	r.Host = c.host
	t.settle(t.accepted, r)
	return settled
}

// appendMail writes MAIL with the parameters that the peer has offered.
func (t *transaction) appendMail(c *conn) {
	r := t.req
	b := append(c.out, "MAIL FROM:<"...)
	b = append(append(b, c.spell(r.From, r.FromASCII)...), '>')
	if c.ext.size && r.Size > 0 && !t.seven {
		b = strconv.AppendInt(append(b, " SIZE="...), r.Size, 10)
	}
	if !t.seven && (r.Body == "BINARYMIME" || r.Body == "8BITMIME" && c.ext.eightBit) {
		b = append(append(b, " BODY="...), r.Body...)
	}
	if c.ext.utf8 && (r.UTF8 || t.utf8) {
		b = append(b, " SMTPUTF8"...)
	}
	if c.ext.dsn {
		if r.Return != "" {
			b = append(append(b, " RET="...), r.Return...)
		}
		if r.EnvelopeID != "" {
			b = appendXtext(append(b, " ENVID="...), r.EnvelopeID)
		}
	}
	c.out = append(b, '\r', '\n')
}

// appendRcpt writes RCPT for one recipient.
func (t *transaction) appendRcpt(c *conn, i int) {
	r := &t.req.Recipients[i]
	b := append(c.out, "RCPT TO:<"...)
	b = append(append(b, c.spell(r.Address, r.ASCII)...), '>')
	if c.ext.dsn {
		if r.Notify != "" {
			b = append(append(b, " NOTIFY="...), r.Notify...)
		}
		if r.ORCPT != "" {
			b = appendORCPT(append(b, " ORCPT="...), r.ORCPT, c.ext.utf8)
		}
	}
	c.out = append(b, '\r', '\n')
}
