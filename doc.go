// Package postern is the documentation of the module; see its packages.
package postern
