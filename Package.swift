// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .treatAllWarnings(as: .error),
]

func room(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(of name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .testTarget(
    name: "\(name)Tests", dependencies: [.byName(name: name), "Fixtures"] + dependencies,
    resources: ["Mail", "Storms", "Ledger"].contains(name) ? [.copy("Samples")] : [],
    swiftSettings: strict)
}

let package = Package(
  name: "qwarden",
  products: [
    .executable(name: "qwarden", targets: ["qwarden"]),
    // For Benchmarks/, which times it without the rest.
    .library(name: "QmailQueue", targets: ["QmailQueue", "Mail", "Files"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
  ],
  targets: [
    .systemLibrary(
      name: "CSystemd", pkgConfig: "libsystemd", providers: [.apt(["libsystemd-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .target(name: "CLinux"),
    room("Mail"),
    room("Files", ["Mail", "CLinux", "CZlib"]),
    room("Selection", ["Mail"]),
    room("QmailQueue", ["Mail", "Files", "CLinux"]),
    room("QmailControl", ["Mail", "Files"]),
    room("Storms", ["Mail"]),
    room("Policy", ["Mail", "Files", "Storms", "Yams"]),
    room("Ledger", ["Mail", "Files", "Storms", .product(name: "GRDB", package: "GRDB.swift")]),
    room(
      "Response",
      ["Mail", "Files", "QmailQueue", "QmailControl", "Storms", "Policy", "Ledger"]),
    room("Replay", ["Mail", "Files", "QmailControl", "Storms", "Policy", "Response"]),
    room("Systemd", ["CSystemd"]),
    room("QmailSimulator", ["Mail", "Files", "QmailQueue"]),
    room("Corpus", ["Mail", "Storms", "Policy", "QmailControl", "Response", "QmailSimulator"]),
    room(
      "Watchdog",
      [
        "Mail", "Files", "QmailQueue", "QmailControl", "Storms", "Policy", "Ledger", "Response",
        "Replay", "Systemd",
      ]),
    .executableTarget(
      name: "qwarden",
      dependencies: [
        "Mail", "Files", "QmailQueue", "QmailControl", "Storms", "Policy", "Ledger", "Response",
        "Selection", "Replay", "Systemd", "QmailSimulator", "Watchdog",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: strict),
    .executableTarget(
      name: "soak",
      dependencies: [
        "Mail", "Files", "QmailQueue", "QmailControl", "Ledger", "QmailSimulator",
        .product(name: "GRDB", package: "GRDB.swift"),
      ],
      swiftSettings: strict),
    .executableTarget(
      name: "evaluate", dependencies: ["Corpus", "Mail", "Storms"], swiftSettings: strict),
    // What suites share: a folder of a test's own, and the shim that kills the built program and makes its calls fail.
    .target(
      name: "Fixtures", dependencies: ["Files"], path: "Tests/Fixtures", swiftSettings: strict),
    tests(of: "Mail"),
    tests(of: "Files"),
    tests(of: "Selection", ["Mail"]),
    tests(of: "Corpus", ["Mail"]),
    tests(of: "QmailQueue", ["QmailSimulator", "Files", "Mail"]),
    tests(of: "QmailControl", ["Files", "Mail"]),
    tests(of: "Storms", ["Mail"]),
    tests(of: "Policy", ["Mail", "Files", "Storms"]),
    tests(
      of: "Ledger",
      ["Mail", "Files", "Storms", .product(name: "GRDB", package: "GRDB.swift")]),
    tests(
      of: "Response",
      [
        "Mail", "Files", "QmailQueue", "QmailControl", "Storms", "Policy", "Ledger",
        "QmailSimulator", .product(name: "GRDB", package: "GRDB.swift"),
      ]),
    tests(of: "Replay", ["Mail", "Files", "Storms", "Policy", "Response"]),
    tests(of: "Systemd", ["Mail", "Files", "QmailSimulator"]),
    tests(
      of: "qwarden",
      [
        "Mail", "Files", "QmailQueue", "QmailControl", "QmailSimulator", "Selection", "Storms",
        "Policy", "Ledger", "Response", "Systemd", "Watchdog",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
    .testTarget(
      name: "HostileTests",
      dependencies: [
        "Mail", "Files", "Selection", "QmailQueue", "QmailControl", "Storms", "Policy",
      ],
      // Read where they are.
      exclude: ["Found"],
      swiftSettings: strict),
    tests(of: "QmailSimulator", ["Mail", "Files", "QmailQueue"]),
    tests(
      of: "Watchdog",
      [
        "Mail", "Files", "QmailQueue", "QmailControl", "Storms", "Policy", "Ledger", "Response",
        "Replay", "Systemd", "QmailSimulator", "soak",
        .product(name: "GRDB", package: "GRDB.swift"),
      ]),
    .testTarget(name: "SoakTests", dependencies: ["soak"], swiftSettings: strict),
    .testTarget(
      name: "RealQmailTests",
      dependencies: [
        "Fixtures", "CLinux", "Mail", "Files", "QmailQueue", "QmailControl", "Storms", "Policy",
        "Ledger",
        "Response", "Systemd", "QmailSimulator", "Watchdog",
      ],
      swiftSettings: strict),
  ],
  swiftLanguageModes: [.v6]
)
