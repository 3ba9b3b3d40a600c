package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern"
)

const (
	fileInterval  = time.Second     // between two looks at the file
	fileUnsettled = 2 * time.Second // a younger file may change again without a new time stamp
	maxFile       = 16 << 20        // octets
	maxFaults     = 20              // reported for one file
)

// Htpasswd is a Verifier of the users of a password file: lines of a name, a
// colon and a hash that a [Hasher] knows, such as "htpasswd -B", [HashPassword]
// and [NewSCRAMKeys] make. Empty lines and lines that begin with # are skipped,
// and so is a byte order mark. Other kinds of hashes are refused. A file of up
// to 16 MiB is read. It is a [SCRAMStore] of the users with keys of
// [NewSCRAMKeys].
//
// It looks at the file at most once a second, during a call of Verify, and
// reads it again when its time, size or identity has changed. Replace the file
// by renaming a complete one over it. While the file cannot be read or has a
// fault, the users read last stay; OnReloadError tells of it.
//
// The last good password of a user is remembered as a keyed digest until the
// file changes, so that a client that logs on for every message does not pay
// for the hash each time. An unknown user costs as much as one of the file,
// always the same one for a name.
type Htpasswd struct {
	path  string
	opt   HtpasswdOptions
	key   [sha256.Size]byte // of the digests of good passwords and unknown names
	start time.Time
	next  atomic.Int64 // when to look again, as time since start
	users atomic.Pointer[users]

	mu        sync.Mutex // held while the file is read
	info      fs.FileInfo
	unsettled bool
	failed    string // the error last reported
}

// HtpasswdOptions change an Htpasswd. Nil stands for the defaults.
type HtpasswdOptions struct {
	// Hasher checks the passwords. Defaults to one of its own.
	Hasher *Hasher
	// RequireSCRAM makes every line a fault whose hash is none of
	// [NewSCRAMKeys]. Set it where SCRAM is offered: a client that knows SCRAM
	// does not fall back to another mechanism for a user without keys. Defaults
	// to false.
	RequireSCRAM bool
	// OnReloadError is told when the file cannot be read again or has a fault:
	// once, until the file or the error changes. It is called during Verify and
	// must be quick. Defaults to nobody being told.
	OnReloadError func(error)
}

// OpenHtpasswd reads the file. The error holds every fault of the file, joined
// with [errors.Join], each a *[postern.FieldError] with the file's name and the
// line as its field; after 20 of them the rest is left out. It never holds a
// hash.
func OpenHtpasswd(path string, o *HtpasswdOptions) (*Htpasswd, error) {
	opt := valueOf(o)
	if opt.OnReloadError == nil {
		opt.OnReloadError = func(error) {}
	}
	if opt.Hasher == nil {
		opt.Hasher = NewHasher(nil)
	}
	h := &Htpasswd{path: path, opt: opt, start: time.Now()}
	rand.Read(h.key[:]) // never fails
	h.next.Store(int64(fileInterval))
	u, err := h.read()
	if err != nil {
		return nil, err
	}
	h.users.Store(u)
	return h, nil
}

// Verify implements [Verifier]. An error other than [ErrBadCredentials] is
// one of the [Hasher].
func (h *Htpasswd) Verify(ctx context.Context, c Proof) (*Identity, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	h.refresh()
	table := h.users.Load()
	u, known := table.byName[c.Username]
	digest := h.digest(c.Password)
	if known {
		if good := u.good.Load(); good != nil && hmac.Equal(good[:], digest[:]) {
			return &Identity{User: c.Username}, nil
		}
	} else {
		u = table.decoy(h.digest(c.Username))
	}
	match, err := h.opt.Hasher.Match(ctx, c, u.hash)
	if err != nil {
		return nil, err
	}
	if !match || !known {
		return nil, ErrBadCredentials
	}
	u.good.Store(&digest)
	return &Identity{User: c.Username}, nil
}

// SCRAMKeys implements [SCRAMStore].
func (h *Htpasswd) SCRAMKeys(_ context.Context, c Proof) (string, *Identity, error) {
	h.refresh()
	u := h.users.Load().byName[c.Username]
	if u == nil || !strings.HasPrefix(u.hash, scramPrefix) {
		return "", nil, ErrBadCredentials
	}
	return u.hash, &Identity{User: c.Username}, nil
}

func (h *Htpasswd) digest(password string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, h.key[:])
	mac.Write([]byte(password))
	mac.Sum(sum[:0])
	return sum
}

// refresh reads the file if it is time to look at it and it has changed.
// Other calls go on with what was read last.
func (h *Htpasswd) refresh() {
	now, next := int64(time.Since(h.start)), h.next.Load()
	if now < next || !h.next.CompareAndSwap(next, now+int64(fileInterval)) || !h.mu.TryLock() {
		return
	}
	defer h.mu.Unlock()
	u, err := h.read()
	switch {
	case err != nil:
		if h.failed != err.Error() {
			h.failed = err.Error()
			h.opt.OnReloadError(err)
		}
	case u != nil:
		h.failed = ""
		h.users.Store(u)
	}
}

// read returns the users of the file, or nil when it is the file of the last
// call. A file with a fault is not read twice; one that could not be read is.
func (h *Htpasswd) read() (*users, error) {
	old := h.info
	h.info = nil
	info, err := os.Stat(h.path)
	if err != nil {
		return nil, fmt.Errorf("auth: htpasswd: %w", err)
	}
	if !info.Mode().IsRegular() { // opening a pipe would block
		return nil, fmt.Errorf("auth: htpasswd: %s is no regular file", h.path)
	}
	if old != nil && !h.unsettled && os.SameFile(old, info) &&
		old.ModTime().Equal(info.ModTime()) && old.Size() == info.Size() {
		h.info = old
		return nil, nil
	}
	age := time.Since(info.ModTime())
	data, err := readFile(h.path)
	if err != nil {
		return nil, fmt.Errorf("auth: htpasswd: %w", err)
	}
	h.info, h.unsettled = info, -fileUnsettled < age && age < fileUnsettled
	if data, err = textOf(data); err != nil {
		return nil, fmt.Errorf("auth: %s: %w", h.path, err)
	}
	return parseHtpasswd(h.path, data, h.opt.Hasher, h.opt.RequireSCRAM)
}

// textOf returns the text of a file without the byte order mark that Windows
// puts in front. UTF-16, which Windows writes too, is refused.
func textOf(data []byte) ([]byte, error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) ||
		bytes.IndexByte(data, 0) >= 0 {
		return nil, errors.New("no UTF-8 text, but UTF-16 or binary: save it as UTF-8")
	}
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d octets", path, maxFile)
	}
	return data, err
}

// users are what a file holds.
type users struct {
	byName map[string]*user
	all    []*user // in the order of the file, at least one
}

type user struct {
	hash string
	good atomic.Pointer[[sha256.Size]byte] // digest of the last good password
}

// decoy returns whose hash an unknown user is compared with.
func (u *users) decoy(digest [sha256.Size]byte) *user {
	return u.all[binary.BigEndian.Uint64(digest[:])%uint64(len(u.all))]
}

func parseHtpasswd(name string, data []byte, h *Hasher, scram bool) (*users, error) {
	u := &users{byName: make(map[string]*user)}
	n := 0
	var faults []error
	for line := range bytes.Lines(data) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if user, err := u.add(string(line), h, scram); err != nil {
			if user != "" {
				err = fmt.Errorf("user %q: %w", user, err)
			}
			faults = append(
				faults, &postern.FieldError{Field: fmt.Sprintf("%s:%d", name, n), Err: err},
			)
		}
		if len(faults) == maxFaults {
			break
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if len(u.all) == 0 {
		u.all = []*user{{hash: noPassword}}
	}
	return u, nil
}

// noPassword is a bcrypt hash of the usual cost.
const noPassword = "$2a$10$....................................................."

// add enters the user of a line. Its errors hold nothing of the hash.
func (u *users) add(line string, h *Hasher, scram bool) (name string, err error) {
	written, hash, ok := strings.Cut(line, ":")
	if !ok {
		return "", errors.New("not of the form name:hash") // may be a bare password
	}
	if name, err = PrepareName(written); err != nil {
		return written[:min(len(written), maxName)], err
	}
	if u.byName[name] != nil {
		return name, errors.New("listed twice")
	}
	if _, err = h.parse(hash); err != nil {
		return name, err
	}
	if scram && !strings.HasPrefix(hash, scramPrefix) {
		return name, errors.New("no SCRAM keys")
	}
	u.byName[name] = &user{hash: hash}
	u.all = append(u.all, u.byName[name])
	return name, nil
}
