package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/postern-mail/postern/examples/internal/openspool"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/spoolmove"
)

// moveSpool moves a queue, and returns 0 when all of it has been moved.
func moveSpool(from, to string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	log := textLog(stderr)
	if place, err := checkPlaces(from, to); err != nil {
		log.Error(err.Error(), "spool", place.String())
		return 1
	}
	source, closeSource, ok := openPlace(ctx, from, log)
	if !ok {
		return 1
	}
	defer closeSource()
	target, closeTarget, ok := openPlace(ctx, to, log)
	if !ok {
		return 1
	}
	defer closeTarget()
	return move(ctx, source, target, stdout, log)
}

var (
	errNoDirectory = errors.New("there is no such directory")
	errNoQueue     = errors.New("the directory holds no queue")
	errSame        = errors.New("FROM and TO are the same database")
)

// checkPlaces keeps a slip of the pen from making an empty queue to move, and
// from moving one onto itself. What cannot be read is for openPlace to tell.
func checkPlaces(from, to string) (openspool.Place, error) {
	place, err := openspool.Parse(from)
	if err != nil {
		return place, nil
	}
	if place.IsDatabase() {
		other, err := openspool.Parse(to)
		if err == nil && other.String() == place.String() {
			return place, errSame
		}
		return place, nil
	}
	info, err := os.Stat(place.Dir())
	if err != nil || !info.IsDir() {
		return place, errNoDirectory
	}
	if _, err := os.Stat(filepath.Join(place.Dir(), "lock")); errors.Is(err, fs.ErrNotExist) {
		return place, errNoQueue // filespool would make one
	}
	return place, nil
}

// openPlace opens one of the two stores.
func openPlace(
	ctx context.Context, where string, log *slog.Logger,
) (queue spool.Store, close func(), ok bool) {
	place, err := openspool.Parse(where)
	if err == nil {
		queue, close, err = place.Open(ctx, log)
	}
	if err != nil {
		log.Error("cannot open a spool", "spool", place.String(), "err", err)
	}
	return queue, close, err == nil
}

func move(
	ctx context.Context, source, target spool.Store, stdout io.Writer, log *slog.Logger,
) int {
	all, err := source.Stats(ctx)
	if err != nil {
		log.Error("cannot read the spool", "err", err)
		return 1
	}
	var told time.Time
	n, err := spoolmove.Move(ctx, source, target, &spoolmove.Options{
		Logger: log,
		Progress: func(n spoolmove.Counts) {
			if time.Since(told) >= time.Second {
				told = time.Now()
				fmt.Fprintf(stdout, "%d of %d messages\n", n.Messages+n.Known, all.Messages)
			}
		},
	})
	fmt.Fprintf(stdout, "moved %d messages, %d deliveries, %d bytes\n",
		n.Messages, n.Deliveries, n.Bytes)
	if n.Known > 0 {
		fmt.Fprintf(stdout, "%d more were moved before\n", n.Known)
	}
	left := n.Held + n.Damaged + n.Foreign
	if left > 0 {
		fmt.Fprintf(stdout, "left are %d under way, %d damaged, %d that the target has from "+
			"elsewhere\n", n.Held, n.Damaged, n.Foreign)
	}
	if err != nil {
		log.Error("not all is moved; start the move again", "err", err)
	}
	if err != nil || left > 0 {
		return 1
	}
	return 0
}
