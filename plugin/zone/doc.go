// Package zone is the domain that the rest of ddns speaks of: owner names, the
// state of a host, serial arithmetic and what stands at a zone's apex.
//
// It guarantees that a [Name] is always absolute, lower case and made of plain
// labels, so that two names are the same name exactly when they compare equal,
// and that a [State] survives the way into a store and back unchanged. It does
// no I/O and asks no clock.
package zone
