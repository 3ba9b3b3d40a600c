package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	fileInterval  = time.Second     // between two looks at the file
	fileUnsettled = 2 * time.Second // a younger file may change again without a new time stamp
	maxFile       = 16 << 20        // octets
	maxFaults     = 20              // reported for one file
	maxPassword   = 72              // octets that bcrypt looks at
)

// Htpasswd is a Verifier of the users of a password file: lines of a name, a
// colon and a bcrypt hash ($2a$, $2b$ or $2y$), as "htpasswd -B" writes them. Empty lines and lines
// that begin with # are skipped. Other kinds of hashes are refused. A file of up to 16 MiB is read.
//
// It looks at the file at most once a second, during a call of Verify, and
// reads it again when its time, size or identity has changed. Replace the file by
// renaming a complete one over it. While the file cannot be read or has a fault, the users read
// last stay; [OnReloadError] tells of it.
//
// No more hashes are computed at once than there are processors for Go; a call that has
// to wait for its turn gives up when its context ends. The last good password
// of a user is remembered as a keyed digest until the file changes, so that a client that logs on for
// every message does not pay for bcrypt each time. An unknown user
// costs as much as the most costly hash of the file. A password longer than 72 octets, the
// most that bcrypt looks at, is never right.
type Htpasswd struct {
	path    string
	onError func(error)
	turns   chan struct{}     // held while a hash is computed
	key     [sha256.Size]byte // of the digests of good passwords
	start   time.Time
	next    atomic.Int64 // when to look again, as time since start
	users   atomic.Pointer[users]

	mu        sync.Mutex // held while the file is read
	info      fs.FileInfo
	unsettled bool
	failed    string // the error last reported
}

// An Option changes a verifier that reads a file.
type Option func(*Htpasswd)

// OnReloadError makes f be told when the file cannot be read again or has a
// fault: once, until the file or the error changes. It is called during Verify and must be
// quick. Defaults to nobody being told.
func OnReloadError(f func(error)) Option {
	return func(h *Htpasswd) {
		if f != nil {
			h.onError = f
		}
	}
}

// OpenHtpasswd reads the file. The error holds every fault of the file with
// its line number, joined with [errors.Join]; after 20 of them the rest is left
// out. It never holds a hash.
func OpenHtpasswd(path string, options ...Option) (*Htpasswd, error) {
	h := &Htpasswd{
		path:    path,
		onError: func(error) {},
		turns:   make(chan struct{}, runtime.GOMAXPROCS(0)),
		start:   time.Now(),
	}
	for _, o := range options {
		o(h)
	}
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
// that of ctx.
func (h *Htpasswd) Verify(ctx context.Context, c Credentials) (*Identity, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if len(c.Password) > maxPassword {
		return nil, ErrBadCredentials
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
		u = table.nobody
	}
	match, err := h.compare(ctx, u.hash, c.Password)
	if err != nil {
		return nil, fmt.Errorf("auth: waiting for a turn: %w", err)
	}
	if !match || !known {
		return nil, ErrBadCredentials
	}
	u.good.Store(&digest)
	return &Identity{User: c.Username}, nil
}

// compare runs bcrypt when a processor is free for it.
func (h *Htpasswd) compare(ctx context.Context, hash []byte, password string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	select {
	case h.turns <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-h.turns }()
	return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil, nil
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
			h.onError(err)
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
	return parseHtpasswd(h.path, data)
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
	nobody *user // costs as much as the most costly user
}

type user struct {
	hash []byte
	good atomic.Pointer[[sha256.Size]byte] // digest of the last good password
}

func parseHtpasswd(name string, data []byte) (*users, error) {
	u := &users{byName: make(map[string]*user)}
	cost, n := 0, 0
	var faults []error
	for line := range bytes.Lines(data) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		user, c, err := u.add(string(line))
		if err != nil {
			if user != "" {
				err = fmt.Errorf("user %q: %w", user, err)
			}
			faults = append(faults, fmt.Errorf("auth: %s:%d: %w", name, n, err))
		}
		if len(faults) == maxFaults {
			break
		}
		cost = max(cost, c)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if cost == 0 {
		cost = bcrypt.DefaultCost
	}
	u.nobody = &user{hash: fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat(".", hashLen-len("$2a$10$")))}
	return u, nil
}

// add enters the user of a line. Its errors hold nothing of the hash.
func (u *users) add(line string) (name string, cost int, err error) {
	written, hash, ok := strings.Cut(line, ":")
	if !ok {
		return "", 0, errors.New("not of the form name:hash") // may be a bare password
	}
	if name, err = PrepareName(written); err != nil {
		return written[:min(len(written), maxName)], 0, err
	}
	if u.byName[name] != nil {
		return name, 0, errors.New("listed twice")
	}
	cost, err = checkHash(hash)
	if err != nil {
		return name, 0, err
	}
	u.byName[name] = &user{hash: []byte(hash)}
	return name, cost, nil
}

const hashLen = 60 // of a bcrypt hash: $2b$10$, 22 characters of salt, 31 of hash

// checkHash returns the cost of a bcrypt hash.
func checkHash(hash string) (int, error) {
	if len(hash) < 4 || hash[:2] != "$2" || !strings.ContainsRune("aby", rune(hash[2])) || hash[3] != '$' {
		return 0, errors.New(`not a bcrypt hash; make one with "htpasswd -B"`)
	}
	if len(hash) != hashLen || hash[6] != '$' || strings.Trim(hash[7:], bcryptDigits) != "" {
		return 0, errors.New("malformed bcrypt hash")
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || cost > maxCost {
		return 0, fmt.Errorf("the cost of the bcrypt hash is not between %d and %d", bcrypt.MinCost, maxCost)
	}
	return cost, nil
}

const (
	maxCost      = 18 // a minute or so; more is a slip of the pen that nobody could log on with
	bcryptDigits = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)
