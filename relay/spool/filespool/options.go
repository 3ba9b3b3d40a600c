package filespool

import (
	"cmp"
	"errors"
	"log/slog"
	"time"
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
	// MaxBytes bounds what the store takes up on disk, events and keys
	// included, in bytes. Beyond it Create and Commit answer spool.ErrFull.
	// Defaults to no bound.
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
	// Wait is how long Open waits for another process that has the directory
	// open, such as an old one that drains while a new one starts. Defaults to
	// 0: Open fails with ErrLocked at once.
	Wait time.Duration
	// Logger is told of damage found and of failures: set it. Defaults to one
	// that discards.
	Logger *slog.Logger
	// InsecureNoSync leaves out every sync: what was acknowledged survives the
	// loss of the process, but not of power.
	InsecureNoSync bool
}

// filled returns the options with their defaults.
func (o Options) filled() (Options, error) {
	for _, n := range [...]int64{
		int64(o.Threshold), o.SegmentBytes, o.MaxBytes, o.CleanBytes, int64(o.SettleDelay),
		int64(o.Wait),
	} {
		if n < 0 {
			return o, errors.New("filespool: an option is negative")
		}
	}
	o.Threshold = cmp.Or(o.Threshold, 128<<10)
	o.MinFree = cmp.Or(o.MinFree, 64<<20)
	o.CleanBytes = cmp.Or(o.CleanBytes, 32<<20)
	o.SettleDelay = cmp.Or(o.SettleDelay, 50*time.Millisecond)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 64 << 20
		if o.MaxBytes > 0 {
			o.SegmentBytes = min(o.SegmentBytes, o.MaxBytes/8)
		}
	}
	// Offsets within a segment are kept in 32 bits, counted in eights.
	o.SegmentBytes = min(max(o.SegmentBytes, 4<<10), 1<<34)
	return o, nil
}
