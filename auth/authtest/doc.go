// Package authtest holds the tests of package auth against real databases:
// SQLite, and a PostgreSQL server that the tests start. It is a module of its
// own, so that their drivers burden nobody else.
package authtest
