// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that who builds qwarden does not build this.
let package = Package(
  name: "qwarden-benchmarks",
  dependencies: [.package(name: "qwarden", path: "..")],
  targets: [
    .executableTarget(name: "floor", linkerSettings: [.linkedLibrary("pthread")]),
    .executableTarget(
      name: "bench", dependencies: [.product(name: "QmailQueue", package: "qwarden")]),
  ],
  swiftLanguageModes: [.v6]
)
