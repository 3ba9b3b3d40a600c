package outbound

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/sevenbit"
	"github.com/postern-mail/postern/relay/spool"
)

var (
	errTooLarge = errors.New("message is larger than the peer takes")
	errUTF8     = errors.New("message needs SMTPUTF8, which the peer does not offer")
)

// admit decides, before a word is said, whether the peer can take the message,
// and settles those it cannot be taken for.
func (t *transaction) admit(ctx context.Context, c *conn) bool {
	failed := t.unfitFor(c)
	if failed == nil {
		failed = t.convert(ctx, c)
	}
	if failed == nil {
		failed = t.openFor(ctx, c)
	}
	if failed != nil {
		t.give(at(c.host, failed))
	} else if t.utf8 && !c.ext.utf8 {
		t.todo = slices.DeleteFunc(t.todo, func(i int) bool {
			if isASCII(t.rcptFor(c, i)) {
				return false
			}
			t.res[i] = failure(at(c.host, permanent(delivery.OpRcpt, "5.6.7", errUTF8)))
			return true
		})
	}
	return len(t.todo) > 0
}

// unfitFor tells why the peer cannot take the message by what it says in EHLO.
func (t *transaction) unfitFor(c *conn) *delivery.Error {
	switch {
	case c.ext.maxSize > 0 && t.req.Message.Size > c.ext.maxSize: // RFC 1870 section 6.1
		return permanent(delivery.OpMail, "5.3.4", errTooLarge)
	case t.utf8 && !c.ext.utf8 && !isASCII(t.fromFor(c)): // RFC 6531 section 3.2
		return permanent(delivery.OpMail, "5.6.7", errUTF8)
	}
	return nil
}

// openFor opens the content, and looks whether its header needs SMTPUTF8.
func (t *transaction) openFor(ctx context.Context, c *conn) *delivery.Error {
	if err := t.open(ctx); err != nil {
		return lost(ctx, delivery.OpContent, "4.3.0", err)
	}
	if !t.req.Message.UTF8 || c.ext.utf8 || t.body.asciiHeader() {
		return nil
	}
	return t.eightHeader(ctx)
}

// convert decides whether the content goes to the peer as 7-bit MIME (RFC 6152
// section 3, RFC 3030 section 3). Only if the peer may make that necessary is
// the content read for it: what was declared need not be so.
func (t *transaction) convert(ctx context.Context, c *conn) *delivery.Error {
	m := &t.req.Message
	binary := m.Body == spool.BodyBinaryMIME
	t.seven = false
	// RFC 6531 section 3.1
	if binary && c.ext.binary && c.ext.chunking || !binary && (c.ext.eightBit || c.ext.utf8) {
		return nil
	}
	if err := t.scan(ctx); err != nil {
		return lost(ctx, delivery.OpContent, "4.3.0", err)
	}
	if !binary && !t.plan.Eight() {
		return nil
	}
	if err := t.plan.Err(); err != nil {
		keyword := spool.Body8BitMIME
		if binary {
			keyword = spool.BodyBinaryMIME
		}
		err = fmt.Errorf("the peer does not offer %s: %w", keyword, err)
		return permanent(delivery.OpMail, "5.6.3", err)
	}
	if m.UTF8 && !c.ext.utf8 && t.plan.EightHeader() { // RFC 6531 section 3.2
		return permanent(delivery.OpMail, "5.6.7", errUTF8)
	}
	if keep := m.UTF8 && c.ext.utf8; keep != t.keep {
		t.keep, t.signed, t.signatures = keep, false, nil
	}
	t.seven = true
	return nil
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
func (t *transaction) eightHeader(ctx context.Context) *delivery.Error {
	if err := t.scan(ctx); err != nil {
		return lost(ctx, delivery.OpContent, "4.3.0", err)
	}
	if t.plan.EightHeader() {
		return permanent(delivery.OpMail, "5.6.7", errUTF8)
	}
	return nil
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
