package pgspool

import (
	"cmp"
	"log/slog"
)

// Options configures a Store. The zero value is ready to use.
type Options struct {
	// Schema holds the tables, for this queue alone: two queues in a database
	// have two. At most 63 bytes. Defaults to "postern".
	Schema string
	// PollOnly asks the server for news again and again, ten times a second,
	// and needs no connection to wait for them. It is implied where the pool's
	// exec mode is not the default one, as behind pgbouncer, or it has fewer
	// than 4 connections. Defaults to false.
	PollOnly bool
	// NoMigrate leaves the schema to somebody else, such as goose with
	// [Migrations]. Defaults to false: Open makes it and brings it up to date.
	NoMigrate bool
	// RecentBytes bounds the memory that keeps the content of messages
	// committed last, in bytes: who delivers one soon need not read it from the
	// database. Content longer than an eighth of it is not kept. Defaults to
	// 16 MiB; negative keeps none.
	RecentBytes int
	// Logger receives what the store has to say. Defaults to one that discards.
	Logger *slog.Logger
}

const defaultSchema = "postern"

func (o *Options) schema() string { return cmp.Or(o.Schema, defaultSchema) }

func (o *Options) recentBytes() int { return max(cmp.Or(o.RecentBytes, 16<<20), 0) }

func (o *Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}
