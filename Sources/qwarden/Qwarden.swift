import ArgumentParser

@main
struct Qwarden: ParsableCommand {}
