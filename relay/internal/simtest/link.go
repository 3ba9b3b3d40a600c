package simtest

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// parts are those of a store that several nodes share.
type parts interface {
	spool.Store
	spool.Log
	spool.Keys
	spool.Manager
	spool.Shared
	spool.Nodes
	spool.Committer
}

// link is the way of one process to a store that outlives it. Other processes
// change the store without a word: a Wait is no longer than the link would take
// to look.
type link struct {
	store *Leasing

	mu     sync.Mutex
	err    error         // what calls answer while the way is cut
	late   int           // calls that still arrive, and get no other answer
	silent bool          // they wait until their context ends, or it is mended
	mended chan struct{} // closed when it is
	goes   chan struct{} // closed when the process goes on; nil if it does
}

// looks is how long a link takes to see what other processes did.
const looks = 5 * time.Second

var (
	_ parts = (*link)(nil)

	errReach = errors.New("simtest: the store is out of reach")
)

func newLink(s *Leasing) *link { return &link{store: s} }

// cut cuts the way: of the next few calls, only the answers.
func (k *link) cut(silent bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err, k.silent, k.late, k.mended = errReach, silent, 3, make(chan struct{})
}

// end ends the way for good.
func (k *link) end(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err, k.silent, k.late = err, false, 0
}

// stop has the process stand still.
func (k *link) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.goes = make(chan struct{})
}

// mend has the process go on, and the way be there.
func (k *link) mend() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mended != nil {
		close(k.mended)
		k.err, k.mended = nil, nil
	}
	if k.goes != nil {
		close(k.goes)
		k.goes = nil
	}
}

// stands waits while the process stands still, and reports whether it did.
func (k *link) stands() (stood bool) {
	for {
		k.mu.Lock()
		goes := k.goes
		k.mu.Unlock()
		if goes == nil {
			return stood
		}
		<-goes
		stood = true
	}
}

// reach lets a call through. One that was on its way while the process stood
// still arrives all the same, whatever its clock says.
func (k *link) reach(ctx context.Context) (context.Context, error) {
	if k.stands() {
		ctx = context.WithoutCancel(ctx)
	}
	k.mu.Lock()
	err, silent, mended := k.err, k.silent, k.mended
	k.mu.Unlock()
	if err == nil || !silent {
		return ctx, err
	}
	select {
	case <-mended:
		return k.reach(ctx)
	case <-ctx.Done():
		return ctx, ctx.Err()
	}
}

// arrives reports whether a call arrives though the way is cut.
func (k *link) arrives() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil || k.late == 0 {
		return false
	}
	k.late--
	return true
}

// Close leaves the store to the others.
func (k *link) Close() error {
	k.end(spool.ErrClosed)
	return nil
}

// call makes a call that answers one value.
func call[T any](
	ctx context.Context, k *link, f func(ctx context.Context) (T, error),
) (v T, err error) {
	arrived := k.arrives()
	if arrived {
		_, _ = f(ctx)
	}
	if ctx, err = k.reach(ctx); err == nil && arrived {
		err = errReach // its answer is lost
	}
	if err != nil {
		return v, err
	}
	v, err = f(ctx)
	k.stands()
	return v, err
}

// do makes a call that answers nothing.
func (k *link) do(ctx context.Context, f func(ctx context.Context) error) error {
	_, err := call(ctx, k, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, f(ctx)
	})
	return err
}

func (k *link) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	return call(ctx, k, func(ctx context.Context) (spool.Writer, error) {
		w, err := k.store.Create(ctx, id)
		return linkWriter{w, k}, err
	})
}

// linkWriter is a Writer on the way to the store.
type linkWriter struct {
	spool.Writer
	link *link
}

func (w linkWriter) Commit(ctx context.Context, c spool.Commit) error {
	err := w.link.do(ctx, func(ctx context.Context) error { return w.Writer.Commit(ctx, c) })
	if err != nil {
		_ = w.Writer.Abort()
	}
	return err
}

func (w linkWriter) CommitLeasing(
	ctx context.Context, c spool.Commit, book func(spool.Key) (time.Duration, bool),
) ([]spool.Lease, error) {
	leases, err := call(ctx, w.link, func(ctx context.Context) ([]spool.Lease, error) {
		return w.Writer.(LeasingWriter).CommitLeasing(ctx, c, book)
	})
	if err != nil {
		_ = w.Writer.Abort()
	}
	return leases, err
}

func (k *link) Open(ctx context.Context, id spool.ID) (io.ReadCloser, error) {
	return call(ctx, k, func(ctx context.Context) (io.ReadCloser, error) {
		return k.store.Open(ctx, id)
	})
}

func (k *link) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	return call(ctx, k, func(ctx context.Context) (spool.Leased, error) {
		l, err := k.store.Lease(ctx, r)
		if l.Wait < 0 || l.Wait > looks {
			l.Wait = looks
		}
		return l, err
	})
}

func (k *link) Renew(
	ctx context.Context, ttl time.Duration, held []spool.Held,
) ([]spool.Held, error) {
	return call(ctx, k, func(ctx context.Context) ([]spool.Held, error) {
		return k.store.Renew(ctx, ttl, held)
	})
}

func (k *link) Return(ctx context.Context, wait time.Duration, held []spool.Held) error {
	return k.do(ctx, func(ctx context.Context) error { return k.store.Return(ctx, wait, held) })
}

func (k *link) Settle(ctx context.Context, s spool.Settlement) error {
	return k.do(ctx, func(ctx context.Context) error { return k.store.Settle(ctx, s) })
}

func (k *link) Stats(ctx context.Context) (spool.Stats, error) {
	return call(ctx, k, k.store.Stats)
}
