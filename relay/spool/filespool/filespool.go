package filespool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

var (
	// ErrLocked answers Open for a directory that another store has open, in
	// this process or in another.
	ErrLocked = errors.New("filespool: directory is in use")
	// ErrDamaged answers reading content that is not what was written, and
	// stands in the leases of deliveries that cannot be read any more. It is a
	// [spool.ErrDamaged].
	ErrDamaged = fmt.Errorf("filespool: %w", spool.ErrDamaged)

	errDone    = errors.New("filespool: writer is at its end")
	errTooLong = errors.New("filespool: message is too long")

	errNoContext = errors.New("filespool: nil context")
	// errInTheWay passes: the file of another attempt at the message is yet to
	// go.
	errInTheWay = errors.New("filespool: a file of the message is being written or removed")
)

const maxContent = 1 << 30 // of one part of a record

const (
	openRead   = os.O_RDONLY
	openWrite  = os.O_RDWR
	openCreate = os.O_RDWR | os.O_CREATE
	openNew    = os.O_RDWR | os.O_CREATE | os.O_EXCL
)

// Options configures a Store. The zero value is ready to use.
type Options struct {
	// Threshold is the length, in bytes, up to which content is kept in the
	// log; longer content has a file of its own. Every message being received
	// takes up to this much memory. Defaults to 128 KiB.
	Threshold int
	// SegmentBytes is the length of a file of the log. Defaults to 64 MiB, or
	// an eighth of MaxBytes if that is less.
	SegmentBytes int64
	// MaxBytes bounds what the store takes up on disk, in bytes. Beyond it
	// Create and Commit answer spool.ErrFull. Defaults to no bound.
	MaxBytes int64
	// MinFree is the room, in bytes, to be left on the disk. With less, Create
	// and Commit answer spool.ErrFull. Defaults to 64 MiB; negative is no
	// bound. It is known on Linux only.
	MinFree int64
	// SettleDelay is how long a settlement may wait for a commit to be written
	// with. Defaults to 50 milliseconds.
	SettleDelay time.Duration
	// CleanBytes is how many bytes per second may be copied to give space back.
	// Defaults to 32 MiB.
	CleanBytes int64
	// Logger is told of damage found and of failures: set it. Defaults to one
	// that discards.
	Logger *slog.Logger
	// InsecureNoSync leaves out every sync: what was acknowledged survives the
	// loss of the process, but not of power.
	InsecureNoSync bool
}

// Store keeps a queue in a directory.
type Store struct {
	dir, files   string
	fs           fsys
	lock         *os.File
	log          *slog.Logger
	mark         uint64
	threshold    int
	segmentBytes int64
	maxBytes     int64
	minFree      int64
	cleanBytes   int64
	delay        time.Duration
	recovery     Recovery
	now          func() time.Time
	opened       time.Time // what the ends of leases are counted from
	buffers      sync.Pool // of content
	metas        sync.Pool

	kick  chan struct{}
	timer *time.Timer
	quit  chan struct{}
	ended chan struct{} // the committer has

	cleanKick  chan struct{}
	cleanEnded chan struct{}
	spareMu    sync.Mutex // held while the spare file comes or goes
	unnamed    bool       // the spare file has its name not for sure

	// The committer's own.
	seq    uint64
	zeros  []byte
	active *segment
	next   *segment // has its name and is yet to be opened

	mu         sync.Mutex
	room       *sync.Cond // the batch at hand has been taken
	closed     bool
	failed     error
	index      *index
	leases     map[uint32]*lease // by delivery
	ends       heap[*lease]
	updates    map[uint32]*update // not yet in the log
	committing map[spool.ID]struct{}
	batch      *batch
	flushing   bool
	segments   []*segment // oldest first
	byNumber   map[uint32]*segment
	live       int64 // bytes of records that count
	logBytes   int64 // of the files of the log
	ownBytes   int64 // of the other files
	trash      []ownTrash
	uncut      bool                  // a failed batch is behind the end of the log
	doubtful   []ownTrash            // for when it is not
	lost       map[spool.ID]*loss    // parts of the log that stand for a message
	spoiled    map[spool.ID]struct{} // messages whose content is known to be damaged
	cleanAfter time.Time             // copying pauses until then
	resting    int                   // leases that were given back for a while
	free       int64                 // of the disk, when last asked
	freeAsked  time.Time
}

type ownTrash struct {
	id   spool.ID
	size int64
	told bool // that it could not be removed
}

type lease struct {
	delivery uint32
	token    uint64        // 0 once it is given back: nobody has that one
	until    time.Duration // since the store was opened
	at       int           // in Store.ends
	claimed  bool          // by a commit under way
}

var _ spool.Store = (*Store)(nil)

// Open opens the store in a directory, which is made if it is missing; o may be
// nil. Nobody else may have it open: see ErrLocked.
func Open(dir string, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	return openFS(dir, o, disk{noSync: o.InsecureNoSync})
}

func openFS(dir string, o *Options, fs fsys) (*Store, error) {
	s := &Store{
		dir:          dir,
		files:        filepath.Join(dir, "files"),
		fs:           fs,
		log:          o.Logger,
		threshold:    cmp.Or(o.Threshold, 128<<10),
		segmentBytes: o.SegmentBytes,
		maxBytes:     o.MaxBytes,
		minFree:      cmp.Or(o.MinFree, 64<<20),
		cleanBytes:   cmp.Or(o.CleanBytes, 32<<20),
		delay:        cmp.Or(o.SettleDelay, 50*time.Millisecond),
		kick:         make(chan struct{}, 1),
		timer:        time.NewTimer(time.Hour),
		quit:         make(chan struct{}),
		ended:        make(chan struct{}),
		cleanKick:    make(chan struct{}, 1),
		cleanEnded:   make(chan struct{}),
		zeros:        make([]byte, 64<<10),
		index:        newIndex(),
		leases:       make(map[uint32]*lease),
		updates:      make(map[uint32]*update),
		committing:   make(map[spool.ID]struct{}),
		batch:        newBatch(nil),
		byNumber:     make(map[uint32]*segment),
		lost:         make(map[spool.ID]*loss),
		spoiled:      make(map[spool.ID]struct{}),
		now:          time.Now,
		opened:       time.Now(),
	}
	if s.threshold < 0 || s.segmentBytes < 0 || s.maxBytes < 0 || s.cleanBytes < 0 || s.delay < 0 {
		return nil, errors.New("filespool: an option is negative")
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.segmentBytes == 0 {
		s.segmentBytes = 64 << 20
		if s.maxBytes > 0 {
			s.segmentBytes = min(s.segmentBytes, s.maxBytes/8)
		}
	}
	// Offsets within a segment are kept in 32 bits, counted in eights.
	s.segmentBytes = min(max(s.segmentBytes, 4<<10), 1<<34)
	s.timer.Stop()
	s.room = sync.NewCond(&s.mu)
	s.ends.less = func(a, b *lease) bool { return a.until < b.until }
	s.ends.moved = func(l *lease, at int) { l.at = at }
	s.buffers.New = func() any { b := make([]byte, 0, 16<<10); return &b }
	s.metas.New = func() any { b := make([]byte, 0, 1<<10); return &b }

	if err := os.MkdirAll(s.files, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, dir)
	}
	if err := s.checkOwner(); err != nil {
		unlockFile(lock)
		return nil, err
	}
	s.lock = lock
	if err := s.recover(); err != nil {
		s.release()
		return nil, err
	}
	go s.commit()
	go s.clean()
	s.wakeCleaner()
	return s, nil
}

// checkOwner refuses a directory that others could change. It looks at what is
// in it as well, and not at the files of messages: theirs is one of its own.
func (s *Store) checkOwner() error {
	dir, err := os.Stat(s.dir)
	if err != nil {
		return err
	}
	infos := map[string]os.FileInfo{s.dir: dir}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(s.dir, e.Name())
		ours := e.Name() == "lock" || e.Name() == spareName || name == s.files ||
			strings.HasSuffix(e.Name(), segmentSuffix)
		if !ours {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() && !(info.IsDir() && name == s.files) {
			return fmt.Errorf("filespool: %s is %v", name, info.Mode().Type())
		}
		infos[name] = info
	}
	for name, info := range infos {
		group, err := check(name, info)
		if err != nil {
			return err
		}
		if group {
			s.log.Warn("filespool: its group may write to it", "file", name, "mode", info.Mode())
		}
	}
	return nil
}

// open tells whether the store still is. The caller holds the lock.
func (s *Store) open() error {
	if s.closed {
		return spool.ErrClosed
	}
	return nil
}

// enter begins a method; on nil the caller holds the lock.
func (s *Store) enter(ctx context.Context) error {
	if ctx == nil {
		return errNoContext
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if err := s.open(); err != nil {
		s.mu.Unlock()
		return err
	}
	return nil
}

// fits tells whether n more bytes may be taken. The caller holds the lock.
func (s *Store) fits(n int64) bool {
	if s.maxBytes > 0 {
		// Room that the log has taken already counts as free up to where it is
		// used.
		used := s.ownBytes + s.logBytes
		if g := s.segments[len(s.segments)-1]; g.size > g.end {
			used -= g.size - g.end
		}
		if used+n > s.maxBytes {
			return false
		}
	}
	if s.minFree < 0 {
		return true
	}
	// The system is asked at most once a second.
	if now := time.Now(); now.Sub(s.freeAsked) > time.Second {
		s.free, s.freeAsked = s.fs.Free(s.dir), now
	}
	return s.free < 0 || s.free-n >= s.minFree
}

// Lease hands out due deliveries.
func (s *Store) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Leased{}, err
	}
	if s.failed != nil {
		// What is delivered now would be delivered again after the next start.
		defer s.mu.Unlock()
		return spool.Leased{}, s.failed
	}
	if len(s.batch.buf) > unwrittenLimit {
		defer s.mu.Unlock()
		return spool.Leased{}, spool.ErrFull
	}
	picks, wait := s.pick(&r)
	s.mu.Unlock()

	out := spool.Leased{Leases: make([]spool.Lease, 0, len(picks)), Wait: wait}
	buf := s.metas.Get().(*[]byte)
	defer s.metas.Put(buf)
	for i := range picks {
		p := &picks[i]
		out.Leases = append(out.Leases, spool.Lease{
			Token: p.token, Damaged: p.lost,
		})
		p.lease = &out.Leases[len(out.Leases)-1]
		err := p.read(s, buf)
		p.unpin(s)
		if err != nil {
			s.log.Error("filespool: a delivery cannot be read for now and is put off",
				"queue_id", p.id.Message, "err", err)
			s.putOff(p, s.now().Add(time.Minute))
			out.Leases = out.Leases[:len(out.Leases)-1]
		}
	}
	return out, nil
}

// pick is a delivery chosen and where to read it.
type pick struct {
	id           spool.DeliveryID
	l            *lease
	token        uint64
	lease        *spool.Lease // to be filled in
	key          spool.Key
	message      loc
	record       int64 // size of the message's record
	lost         error // there is no record
	update       loc
	unwritten    *update
	segment      *segment
	updateHolder *segment
}

func (p *pick) unpin(s *Store) {
	s.unpin(p.segment)
	if p.updateHolder != nil {
		s.unpin(p.updateHolder)
	}
}

// pick chooses deliveries and leases them. The caller holds the lock.
func (s *Store) pick(r *spool.LeaseRequest) (picks []pick, wait time.Duration) {
	x := s.index
	now, elapsed := nanos(s.now()), s.elapsed()
	s.endLeases(elapsed)
	wait = -1
	soonest := func(d time.Duration) {
		if d = max(d, 0); wait < 0 || d < wait {
			wait = d
		}
	}
	if len(r.Only) > 0 {
		defer x.widen(x.narrow(r.Only))
	}
	var aside []*route
	var counts map[*route]int
	if r.MaxPerKey > 0 {
		counts = make(map[*route]int)
	}
	for _, k := range r.Busy {
		x.matching(k, func(v *route) {
			if v.at >= 0 {
				x.routes.remove(v.at)
				aside = append(aside, v)
			}
		})
	}
	for x.routes.len() > 0 {
		v := x.routes.top()
		due := x.deliveries.get(v.queue.top()).due
		if due > now || len(picks) >= r.Max {
			soonest(time.Duration(max(due, now) - now))
			break
		}
		if r.MaxPerKey > 0 {
			if counts[v] >= r.MaxPerKey {
				soonest(time.Duration(max(due, now) - now))
				x.routes.remove(0)
				aside = append(aside, v)
				continue
			}
			counts[v]++
		}
		h := x.unqueue(v)
		d := x.deliveries.get(h)
		m := x.messages.get(d.message)
		l := &lease{delivery: h, token: newToken(), until: elapsed + r.TTL}
		s.leases[h] = l
		s.ends.push(l)
		p := pick{
			id: spool.DeliveryID{Message: m.id, Seq: int(d.seq)}, l: l, token: l.token,
			message: m.loc, record: m.record(), segment: s.pin(m.loc.segment),
			update: d.update, unwritten: s.updates[h],
			key: v.key,
		}
		if p.unwritten == nil && !d.update.isZero() {
			p.updateHolder = s.pin(d.update.segment)
		}
		if l := s.lost[m.id]; l != nil {
			p.lost = l.err()
		}
		picks = append(picks, p)
	}
	for _, v := range aside {
		x.routes.push(v)
	}
	if s.ends.len() > 0 {
		soonest(s.ends.top().until - elapsed)
	}
	return picks, wait
}

// read fills in the lease from the log. A delivery that is damaged is leased as
// such; an error may pass.
func (p *pick) read(s *Store, buf *[]byte) error {
	err := p.readMessage(buf)
	if err == nil {
		err = p.readUpdate(buf)
		if errors.Is(err, ErrDamaged) {
			// What was settled before is served again: better twice than never.
			s.log.Error("filespool: the last settlement of a delivery is damaged; it counts no "+
				"more",
				"queue_id", p.id.Message, "file", segmentName(
					p.updateHolder.number,
				), "offset", p.update.at())
			err = nil
		}
	}
	if errors.Is(err, ErrDamaged) {
		p.lease.Damaged = s.damagedEnvelope(p).err()
		err = nil
	}
	if p.lease.Damaged != nil {
		p.guess()
	}
	p.lease.Delivery.Key = p.key
	return err
}

// guess fills in a damaged lease with what the record seems to say.
func (p *pick) guess() {
	m, ds, ok := p.segment.guess(p.message)
	i := slices.IndexFunc(ds, func(d spool.Delivery) bool { return d.ID.Seq == p.id.Seq })
	if ok && i >= 0 {
		p.lease.Message, p.lease.Delivery = m, ds[i]
	}
	p.lease.Message.ID, p.lease.Delivery.ID = p.id.Message, p.id
}

func (p *pick) readMessage(buf *[]byte) error {
	if p.lost != nil {
		return nil
	}
	_, meta, err := p.segment.meta(p.message, buf)
	if err != nil {
		return err
	}
	m, _, ds, ok := decodeCommit(meta)
	i := slices.IndexFunc(ds, func(d spool.Delivery) bool { return d.ID == p.id })
	if !ok || m.ID != p.id.Message || i < 0 {
		return ErrDamaged
	}
	p.lease.Message, p.lease.Delivery = m, ds[i]
	return nil
}

// readUpdate brings the lease up to the last settlement.
func (p *pick) readUpdate(buf *[]byte) error {
	u := p.unwritten
	if u != nil {
		u = &update{u.due, u.attempts, slices.Clone(u.recipients)}
	} else if p.updateHolder != nil {
		h, meta, err := p.updateHolder.meta(p.update, buf)
		if err != nil {
			return err
		}
		var ok bool
		if u, ok = decodeUpdate(h.kind, meta, p.id.Message, p.id.Seq); !ok {
			return ErrDamaged
		}
	}
	if u != nil {
		u.apply(&p.lease.Delivery)
	}
	return nil
}

// meta reads the meta part of a record into buf.
func (g *segment) meta(l loc, buf *[]byte) (header, []byte, error) {
	h, b, err := g.read(l, int64(headerSize)+int64(l.meta), buf)
	return h, b, err
}

// read reads the first n bytes of a record into buf and returns what follows
// the header.
func (g *segment) read(l loc, n int64, buf *[]byte) (h header, rest []byte, err error) {
	b := slices.Grow((*buf)[:0], int(n))[:n]
	*buf = b
	if _, err := g.file.ReadAt(b, l.at()); err != nil {
		if err == io.EOF {
			err = ErrDamaged // the file was longer once
		}
		return h, nil, fmt.Errorf("filespool: read log: %w", err)
	}
	rest = b[headerSize:]
	if !(h.parse(b) || mendHeader(b) && h.parse(b)) || h.segment != g.number ||
		h.meta != l.meta || !mend(rest[:l.meta], h.metaSum) {
		return h, nil, ErrDamaged
	}
	return h, rest, nil
}

// putOff gives back a delivery that could not be read.
func (s *Store) putOff(p *pick, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leases[p.l.delivery] != p.l || p.l.claimed {
		return
	}
	s.endLease(p.l)
	s.index.move(p.l.delivery, nil, nanos(due))
	s.index.queue(p.l.delivery)
}

// held returns the lease of a delivery if the token is its own. The caller
// holds the lock.
func (s *Store) held(id spool.DeliveryID, token uint64) *lease {
	if _, m := s.index.find(id.Message); m != nil {
		if h, d := s.index.delivery(m, id.Seq); d != nil {
			if l := s.leases[h]; l != nil && l.token != 0 && l.token == token {
				return l
			}
		}
	}
	return nil
}

// endLease forgets a lease. The caller holds the lock.
func (s *Store) endLease(l *lease) {
	delete(s.leases, l.delivery)
	if l.at >= 0 {
		s.ends.remove(l.at)
	}
}

// claim takes hold of the leases that a commit settles: nobody else settles
// them, and they do not end. The caller holds the lock.
func (s *Store) claim(settle []spool.Settlement) ([]*lease, error) {
	if len(settle) == 0 {
		return nil, nil
	}
	leases := make([]*lease, 0, len(settle))
	for i := range settle {
		l := s.held(settle[i].ID, settle[i].Token)
		if l == nil || l.claimed {
			s.unclaim(leases)
			return nil, spool.ErrLeaseLost
		}
		l.claimed = true
		s.ends.remove(l.at)
		leases = append(leases, l)
	}
	return leases, nil
}

func (s *Store) unclaim(leases []*lease) {
	for _, l := range leases {
		l.claimed = false
		s.ends.push(l)
	}
}

// elapsed is the time by which leases end: no step of the wall clock moves it.
func (s *Store) elapsed() time.Duration { return s.now().Sub(s.opened) }

// endLeases queues again what is not held any more. The caller holds the lock.
func (s *Store) endLeases(elapsed time.Duration) {
	for s.ends.len() > 0 && s.ends.top().until <= elapsed {
		l := s.ends.pop()
		if l.token == 0 {
			s.resting--
		}
		delete(s.leases, l.delivery)
		s.index.queue(l.delivery)
	}
}

// newToken returns a random token.
func newToken() uint64 {
	for {
		if t := rand.Uint64(); t != 0 {
			return t
		}
	}
}

// Renew makes leases last for ttl from now on.
func (s *Store) Renew(
	ctx context.Context, ttl time.Duration, held []spool.Held,
) (lost []spool.Held, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	until := s.elapsed() + ttl
	for _, h := range held {
		l := s.held(h.ID, h.Token)
		if l == nil {
			lost = append(lost, h)
			continue
		}
		l.until = until
		if l.at >= 0 {
			s.ends.fix(l.at)
		}
	}
	return lost, nil
}

// Return gives leases back.
func (s *Store) Return(ctx context.Context, wait time.Duration, held []spool.Held) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	until := s.elapsed() + wait
	for _, h := range held {
		l := s.held(h.ID, h.Token)
		switch {
		case l == nil || l.claimed:
		case wait <= 0:
			s.endLease(l)
			s.index.queue(l.delivery)
		default:
			l.token, l.until = 0, until
			s.resting++
			s.ends.fix(l.at)
		}
	}
	return nil
}

// setDue turns the wait of a settlement into a time.
func (s *Store) setDue(t *spool.Settlement) {
	if t.Due.IsZero() {
		t.Due = s.now().Add(max(t.Wait, 0))
	}
}

// Settle ends a lease. It does not wait for the disk.
func (s *Store) Settle(ctx context.Context, t spool.Settlement) error {
	meta := s.metas.Get().(*[]byte)
	defer s.metas.Put(meta)
	s.setDue(&t)
	*meta = appendSettlements((*meta)[:0], []spool.Settlement{t})
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	l := s.held(t.ID, t.Token)
	if l == nil || l.claimed {
		return spool.ErrLeaseLost
	}
	written := s.settle(l, &t)
	if s.failed != nil {
		return nil // it counts as long as the process lives
	}
	s.enqueue(&record{kind: kindSettle, meta: *meta, keep: true, done: func(at loc, err error) {
		if err == nil {
			written(at)
		}
	}}, false)
	return nil
}

// settle changes the index as a settlement says. What it returns is to be
// called when the settlement is in the log. The caller holds the lock.
func (s *Store) settle(l *lease, t *spool.Settlement) (written func(at loc)) {
	x := s.index
	h := l.delivery
	d := x.deliveries.get(h)
	m := x.messages.get(d.message)
	s.endLease(l)
	if len(t.Remaining) > 0 {
		u := &update{
			due: nanos(t.Due), attempts: max(t.Attempts, 0), recipients: slices.Clone(t.Remaining),
		}
		for i := range u.recipients {
			u.recipients[i].Diagnostic = cut(u.recipients[i].Diagnostic)
		}
		s.updates[h] = u
		m.version++
		var key []byte
		if t.Key != nil {
			key = []byte(packKey(*t.Key))
		}
		x.move(h, key, u.due)
		x.queue(h)
		return func(at loc) {
			if s.updates[h] != u {
				return // overtaken
			}
			delete(s.updates, h)
			d := x.deliveries.get(h)
			s.overwrite(d.update)
			d.update = at
			s.lives(at.segment, recordSize(at.meta, 0))
		}
	}
	delete(s.updates, h)
	old, last := d.update, *m
	gone := x.remove(h)
	return func(loc) {
		s.overwrite(old)
		if !gone {
			return
		}
		s.dead(last.loc.segment, last.record())
		delete(s.lost, last.id)
		if last.own {
			s.trash = append(s.trash, ownTrash{id: last.id, size: last.ownSize()})
		} else {
			delete(s.spoiled, last.id)
		}
	}
}

// overwrite counts an update as dead. The caller holds the lock.
func (s *Store) overwrite(l loc) {
	if !l.isZero() {
		s.dead(l.segment, recordSize(l.meta, 0))
	}
}

// Stats returns the totals.
func (s *Store) Stats(ctx context.Context) (spool.Stats, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Stats{}, err
	}
	defer s.mu.Unlock()
	return spool.Stats{
		Messages:   int64(s.index.messages.len()),
		Deliveries: int64(s.index.deliveries.len()),
		Leased:     int64(len(s.leases) - s.resting),
		Bytes:      s.index.bytes,
	}, nil
}

// Close writes what is left to write and gives the directory free. Open
// readers stay readable.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.cleanEnded
		return nil
	}
	s.closed = true
	s.room.Broadcast()
	s.mu.Unlock()
	close(s.quit)
	<-s.ended
	<-s.cleanEnded
	err := s.broken()
	s.release()
	return err
}

// release closes what is open.
func (s *Store) release() {
	s.mu.Lock()
	segments := s.segments
	// A closed store that somebody holds on to takes no memory.
	s.segments, s.index, s.batch = nil, newIndex(), newBatch(nil)
	clear(s.leases)
	clear(s.updates)
	var idle []*segment
	for _, g := range segments {
		g.gone = true
		if g.pins == 0 {
			idle = append(idle, g)
		}
	}
	s.mu.Unlock()
	for _, g := range idle {
		g.file.Close()
	}
	unlockFile(s.lock)
}
