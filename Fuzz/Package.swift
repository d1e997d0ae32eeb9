// swift-tools-version: 6.2
import PackageDescription

// The rooms that read hostile bytes, built once more with libFuzzer's eyes in them. Their folders are links to the real ones.
let watched: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .unsafeFlags(["-sanitize=fuzzer", "-enable-testing"]),
]

func room(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: watched)
}

let package = Package(
  name: "fuzz",
  dependencies: [.package(url: "https://github.com/jpsim/Yams", from: "6.2.0")],
  targets: [
    .systemLibrary(name: "CZlib", pkgConfig: "zlib"),
    .target(name: "CLinux"),
    room("Mail"),
    room("Files", ["Mail", "CLinux", "CZlib"]),
    room("Selection", ["Mail"]),
    room("QmailQueue", ["Mail", "Files", "CLinux"]),
    room("QmailControl", ["Mail", "Files"]),
    room("Storms", ["Mail"]),
    room("Policy", ["Mail", "Files", "Storms", "Yams"]),
    .executableTarget(
      name: "fuzz",
      dependencies: ["Mail", "Selection", "QmailQueue", "QmailControl", "Storms", "Policy"],
      swiftSettings: watched + [.unsafeFlags(["-parse-as-library"])],
      linkerSettings: [.unsafeFlags(["-sanitize=fuzzer", "-use-ld=lld"])]),
  ],
  swiftLanguageModes: [.v6]
)
