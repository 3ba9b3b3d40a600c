package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/postern-mail/postern/domains"
)

// Maildir returns a Transport that writes each recipient's copy into a maildir,
// dir/<local part>@<domain>, made if missing. The copy is synced before it
// counts as delivered and begins with Return-Path and Delivered-To; those that
// the message had are dropped (RFC 5321 section 4.4). Local parts are
// compared without regard to case; one that cannot name a directory is refused.
// Without a dir mail waits, and relay.New reports it where the Transport stands
// in its Config unwrapped.
func Maildir(dir string) Transport {
	return maildir{mailboxes(dir), dir}
}

type maildir struct {
	Transport
	dir string
}

var errNoDir = errors.New("the directory of a Maildir is required")

// Validate returns an error where there is no directory.
func (m maildir) Validate() error {
	if m.dir == "" {
		return errNoDir
	}
	return nil
}

func mailboxes(dir string) Transport {
	return Mailbox(func(ctx context.Context, to domains.Address, a *Attempt) error {
		if dir == "" {
			return errNoDir
		}
		name := strings.ToLower(to.Local()) + "@" + to.Domain()
		if strings.ContainsAny(name, "/\\\x00:") || strings.HasPrefix(name, ".") ||
			len(name) > 200 {
			return &Error{Op: OpMailbox, Permanent: true, Reply: Reply{
				Enhanced: "5.1.3", Text: "Address cannot name a mailbox",
			}}
		}
		return deliverMaildir(ctx, filepath.Join(dir, name), to, a)
	})
}

// deliverMaildir writes to tmp, syncs, and renames into new. The file name
// comes from the queue id, so that a repeated attempt replaces its own copy.
func deliverMaildir(
	ctx context.Context, box string, to domains.Address, a *Attempt,
) (err error) {
	cur := filepath.Join(box, "cur")
	if _, err := os.Stat(cur); err != nil {
		if err := makeMaildir(box); err != nil {
			return err
		}
	}
	name := a.QueueID + ".postern"
	if read, err := holds(cur, name); read || err != nil {
		return err // delivered before, and read since; or nobody knows
	}
	// It needs no descriptor any more when the message is in its place.
	arrived, err := os.Open(filepath.Join(box, "new"))
	if err != nil {
		return err
	}
	defer arrived.Close()
	content, err := a.Open(ctx)
	if err != nil {
		return err
	}
	defer content.Close()
	tmp := filepath.Join(box, "tmp", name)
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp)
		}
	}()
	_, err = fmt.Fprintf(f, "Return-Path: <%s>\r\nDelivered-To: %s\r\n", a.Message.From, to)
	if err == nil {
		err = copyToMailbox(f, content)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(tmp, filepath.Join(box, "new", name)); err != nil {
		return err
	}
	return arrived.Sync()
}

// makeMaildir makes a mailbox that lasts: a new directory is durable when the
// one it lies in is synced. What tells that all of this was done comes last.
func makeMaildir(box string) error {
	for _, sub := range [...]string{"tmp", "new"} {
		if err := os.MkdirAll(filepath.Join(box, sub), 0o700); err != nil {
			return err
		}
	}
	if err := errors.Join(syncDir(box), syncDir(filepath.Dir(box))); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(box, "cur"), 0o700)
}

// holds reports whether dir has a file whose name begins so.
func holds(dir, prefix string) (bool, error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(256)
		for _, n := range names {
			if strings.HasPrefix(n, prefix) {
				return true, nil
			}
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
