//! The rules of the checklist: those rows of the Container Platform SRG (V2R4) that a monitoring product can say something
//! of, and the controls of Kubernetes workloads that agents look at. docs/controls.md has mechanism and test of each.

/// How the log decides a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Every record answers this of AU-3's questions, by its place.
    Answer(usize),
    /// Every command is there in full.
    Commands,
    /// The log is intact and signed as the trust policy demands.
    Intact,
    /// Nothing that nodes sent is missing without a reason.
    Complete,
    /// Nodes signed for every event that they sent.
    Signed,
    /// Every wanted sensor works.
    Sensors,
    /// Every clock is kept in step with UTC.
    Clocks,
    /// No container is set up otherwise, by the names of the posture findings.
    Posture(&'static [&'static str]),
    /// The log cannot tell; this is what an assessor looks at.
    Assessor(&'static str),
}

/// A rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its number, such as `V-233042` or `KUBER-L2-000020`.
    pub id: &'static str,
    /// The requirement that it is of, such as `SRG-APP-000095`; empty where there is none.
    pub srg: &'static str,
    /// In a few words of Norma's own.
    pub title: &'static str,
    /// How it is decided.
    pub check: Check,
}

impl Rule {
    /// It is one of the Container Platform SRG, not of Kubernetes workloads.
    pub fn is_platform(&self) -> bool {
        !self.srg.is_empty()
    }
}

const fn srg(id: &'static str, srg: &'static str, title: &'static str, check: Check) -> Rule {
    Rule {
        id,
        srg,
        title,
        check,
    }
}

const fn kuber(id: &'static str, title: &'static str, check: Check) -> Rule {
    Rule {
        id,
        srg: "",
        title,
        check,
    }
}

const PRIVILEGE: Check = Check::Assessor(
    "acts of processes that use or change privileges, accounts or protected objects are events of kinds privilege, host and file; acts at the Kubernetes API are in its own audit log",
);
const FILES: Check = Check::Assessor(
    "the collector makes log and key with mode 0600 in directories of its own user; look at the host and its backups",
);
const TRANSPORT: Check = Check::Assessor(
    "TLS 1.3 with certificates on both sides is the only way in; look at `tls` in the configuration, and at the refused records",
);
const REVIEW: Check =
    Check::Assessor("one log for all nodes, forwarded to the SIEM; look at `sinks` in the configuration");

/// All of them, in the order of their numbers.
pub const RULES: &[Rule] = &[
    srg(
        "V-233022",
        "SRG-APP-000026",
        "Account creation is audited",
        PRIVILEGE,
    ),
    srg(
        "V-233023",
        "SRG-APP-000027",
        "Account modification is audited",
        PRIVILEGE,
    ),
    srg(
        "V-233024",
        "SRG-APP-000028",
        "Account disabling is audited",
        PRIVILEGE,
    ),
    srg(
        "V-233025",
        "SRG-APP-000029",
        "Account removal is audited",
        PRIVILEGE,
    ),
    srg(
        "V-233038",
        "SRG-APP-000089",
        "All defined events are recorded",
        Check::Sensors,
    ),
    srg(
        "V-233039",
        "SRG-APP-000090",
        "Only appointed people say what is audited",
        Check::Assessor(
            "agents take configuration and policies from root's files only; what they took is in lifecycle events",
        ),
    ),
    srg(
        "V-233040",
        "SRG-APP-000091",
        "Use of privileged objects is recorded",
        PRIVILEGE,
    ),
    srg(
        "V-233041",
        "SRG-APP-000092",
        "Auditing begins at startup",
        Check::Assessor("lifecycle events tell when each agent started; compare them with when the node did"),
    ),
    srg(
        "V-233042",
        "SRG-APP-000095",
        "Records say what type of event occurred",
        Check::Answer(0),
    ),
    srg("V-233043", "SRG-APP-000096", "Records say when", Check::Answer(1)),
    srg(
        "V-233044",
        "SRG-APP-000097",
        "Records say where",
        Check::Answer(2),
    ),
    srg(
        "V-233045",
        "SRG-APP-000098",
        "Records say the source",
        Check::Answer(3),
    ),
    srg(
        "V-233046",
        "SRG-APP-000099",
        "Records say the outcome",
        Check::Answer(4),
    ),
    srg(
        "V-233047",
        "SRG-APP-000100",
        "Records say the identity of the user",
        Check::Answer(5),
    ),
    srg(
        "V-233048",
        "SRG-APP-000100",
        "Records say the identity of the container",
        Check::Answer(2),
    ),
    srg(
        "V-233049",
        "SRG-APP-000101",
        "Records have the full text of commands",
        Check::Commands,
    ),
    srg(
        "V-233052",
        "SRG-APP-000111",
        "Records are reviewed in one place",
        REVIEW,
    ),
    srg(
        "V-233055",
        "SRG-APP-000116",
        "Time stamps come from the system's clock",
        Check::Answer(1),
    ),
    srg(
        "V-233056",
        "SRG-APP-000118",
        "Records are protected from being read",
        FILES,
    ),
    srg(
        "V-233057",
        "SRG-APP-000119",
        "Records are protected from change",
        Check::Intact,
    ),
    srg(
        "V-233058",
        "SRG-APP-000120",
        "Records are protected from deletion",
        Check::Intact,
    ),
    srg(
        "V-233059",
        "SRG-APP-000121",
        "Audit tools are protected from access",
        FILES,
    ),
    srg(
        "V-233060",
        "SRG-APP-000122",
        "Audit tools are protected from change",
        FILES,
    ),
    srg(
        "V-233061",
        "SRG-APP-000123",
        "Audit tools are protected from deletion",
        FILES,
    ),
    srg(
        "V-233063",
        "SRG-APP-000126",
        "Integrity is protected by FIPS-validated cryptography",
        Check::Assessor(
            "SHA-256 and Ed25519 by aws-lc-rs; whether the build has its validated module is told by the build",
        ),
    ),
    srg(
        "V-233086",
        "SRG-APP-000158",
        "Nodes are identified before they connect",
        TRANSPORT,
    ),
    srg(
        "V-233105",
        "SRG-APP-000181",
        "Reports on demand",
        Check::Assessor("this document is one: `norma-collector evidence`, `audit show` and the query API"),
    ),
    srg(
        "V-233142",
        "SRG-APP-000290",
        "Integrity of audit tools is protected by cryptography",
        FILES,
    ),
    srg(
        "V-233157",
        "SRG-APP-000319",
        "Account enabling is audited",
        PRIVILEGE,
    ),
    srg(
        "V-233164",
        "SRG-APP-000343",
        "Execution of privileged functions is audited",
        PRIVILEGE,
    ),
    srg(
        "V-233166",
        "SRG-APP-000516",
        "Who may change what is audited",
        Check::Assessor("as V-233039"),
    ),
    srg(
        "V-233168",
        "SRG-APP-000357",
        "Storage for records is large enough",
        Check::Assessor("a full disk stops acknowledgements and loses nothing; its size is the host's"),
    ),
    srg(
        "V-233169",
        "SRG-APP-000358",
        "Records are off-loaded to another system",
        REVIEW,
    ),
    srg(
        "V-233170",
        "SRG-APP-000359",
        "Warning at 75 % of storage",
        Check::Assessor(
            "`storage_state` records warn at `audit.storage_warning` percent (75): who receives them is to be reviewed",
        ),
    ),
    srg(
        "V-233171",
        "SRG-APP-000360",
        "Alert in real time when auditing fails",
        Check::Assessor(
            "loss, coverage and recovery events are alerts to the SIEM; look whether somebody gets them",
        ),
    ),
    srg(
        "V-233181",
        "SRG-APP-000374",
        "Time stamps are UTC",
        Check::Answer(1),
    ),
    srg(
        "V-233182",
        "SRG-APP-000375",
        "Time stamps are exact to a second",
        Check::Answer(1),
    ),
    srg(
        "V-233201",
        "SRG-APP-000401",
        "Revocation data is kept locally",
        Check::Assessor(
            "revocation lists are cached in the state directory; look at `tls.crl` in the configuration",
        ),
    ),
    srg(
        "V-233224",
        "SRG-APP-000439",
        "Transmission is protected",
        TRANSPORT,
    ),
    srg(
        "V-233226",
        "SRG-APP-000441",
        "Confidentiality and integrity before transmission",
        TRANSPORT,
    ),
    srg(
        "V-233227",
        "SRG-APP-000442",
        "Confidentiality and integrity during reception",
        TRANSPORT,
    ),
    srg(
        "V-233252",
        "SRG-APP-000492",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233253",
        "SRG-APP-000493",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233254",
        "SRG-APP-000494",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233255",
        "SRG-APP-000495",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233256",
        "SRG-APP-000496",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233257",
        "SRG-APP-000497",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233258",
        "SRG-APP-000498",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233259",
        "SRG-APP-000499",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233260",
        "SRG-APP-000500",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233261",
        "SRG-APP-000501",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233262",
        "SRG-APP-000502",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233263",
        "SRG-APP-000503",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233264",
        "SRG-APP-000504",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233265",
        "SRG-APP-000505",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233266",
        "SRG-APP-000506",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233267",
        "SRG-APP-000507",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233268",
        "SRG-APP-000508",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233269",
        "SRG-APP-000509",
        "Records of this kind of event are made",
        PRIVILEGE,
    ),
    srg(
        "V-233270",
        "SRG-APP-000510",
        "Execution, stop and restart of containers is recorded",
        Check::Sensors,
    ),
    srg(
        "V-233271",
        "SRG-APP-000514",
        "FIPS-validated modules for signatures and hashes",
        Check::Assessor("as V-233063"),
    ),
    srg(
        "V-233284",
        "SRG-APP-000605",
        "Certificates are validated (RFC 5280)",
        TRANSPORT,
    ),
    srg(
        "V-233285",
        "SRG-APP-000610",
        "FIPS-validated SHA-2 or stronger",
        Check::Assessor("as V-233063"),
    ),
    srg(
        "V-263587",
        "SRG-APP-000745",
        "Records of several places are analysed together",
        REVIEW,
    ),
    srg(
        "V-263588",
        "SRG-APP-000795",
        "Alert on unauthorised change of audit information",
        Check::Intact,
    ),
    srg(
        "V-263599",
        "SRG-APP-000910",
        "Only approved trust anchors",
        TRANSPORT,
    ),
    srg(
        "V-263600",
        "SRG-APP-000915",
        "Keys are in protected storage",
        Check::Assessor("keys are files with mode 0600; look whether the host protects them as demanded"),
    ),
    srg(
        "V-263601",
        "SRG-APP-000920",
        "Clocks are synchronised",
        Check::Clocks,
    ),
    kuber(
        "KUBER-L2-000010",
        "Images come from an approved source",
        Check::Posture(&["posture.image-not-from-an-approved-registry"]),
    ),
    kuber(
        "KUBER-L2-000020",
        "Containers do not run as root",
        Check::Posture(&["posture.runs-as-root"]),
    ),
    kuber(
        "KUBER-L2-000030",
        "Images have no critical vulnerabilities",
        Check::Assessor("Norma does not scan images; take the result of the registry's scanner"),
    ),
    kuber(
        "KUBER-L2-000060",
        "Pods do not share namespaces of the host",
        Check::Posture(&["posture.host-namespaces"]),
    ),
    kuber(
        "KUBER-L2-000070",
        "Containers are not privileged",
        Check::Posture(&["posture.privileged"]),
    ),
    kuber(
        "KUBER-L2-000080",
        "Resources are limited",
        Check::Posture(&["posture.no-resource-limits"]),
    ),
    kuber(
        "KUBER-L2-000110",
        "Network policies are in place",
        Check::Assessor(
            "Norma sees connections, not policies of the cluster; look at the NetworkPolicy objects",
        ),
    ),
    kuber("KUBER-L2-000180", "Audit logging is on", Check::Sensors),
    kuber(
        "KUBER-L2-000190",
        "Audit logs go to a central system",
        Check::Complete,
    ),
];
