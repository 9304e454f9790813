;; The rule in golden-0.1.0.wasm: it calls every function of every capability of interface 0.1.0, and answers with
;; what it got, so that a host that changes any of them shows it.
;;
;; Settings that have the word `deny` make it deny, with the settings as the message.
(module
    (import "countersign:policy/log@0.1.0" "write" (func $write (param i32 i32 i32)))
    (import "countersign:policy/artifact@0.1.0" "manifest" (func $manifest (param i32)))
    (import "countersign:policy/artifact@0.1.0" "config" (func $config (param i32)))
    (import "countersign:policy/artifact@0.1.0" "referrers" (func $referrers (param i32 i32 i32 i32)))
    (import "countersign:policy/artifact@0.1.0" "attached" (func $attached (param i32 i32 i32)))
    (import "countersign:policy/crypto@0.1.0" "digest" (func $digest (param i32 i32 i32 i32)))
    (import "countersign:policy/crypto@0.1.0" "verify"
        (func $verify (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "countersign:policy/data@0.1.0" "names" (func $names (param i32)))
    (import "countersign:policy/data@0.1.0" "read" (func $read (param i32 i32 i32)))

    (memory (export "memory") 2)

    ;; Where the next piece of memory begins. Nothing is ever given back: an instance answers once.
    (global $next (mut i32) (i32.const 65536))

    (func $realloc (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32)
        (result i32)
        (local $at i32)
        (local.set $at (i32.and
            (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
            (i32.sub (i32.const 0) (local.get $align))))
        (global.set $next (i32.add (local.get $at) (local.get $new)))
        (if (i32.gt_u (global.get $next) (i32.shl (memory.size) (i32.const 16)))
            (then (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.shr_u (i32.sub
                    (global.get $next) (i32.shl (memory.size) (i32.const 16))) (i32.const 16)))))
                (then unreachable))))
        (if (local.get $size)
            (then (memory.copy (local.get $at) (local.get $old) (local.get $size))))
        (local.get $at))

    ;; Texts.
    (data (i32.const 1024) "golden")
    (data (i32.const 1040) "1.0.0")
    (data (i32.const 1056) "Uses everything that a rule can use")
    (data (i32.const 1104) "{\"type\":\"object\",\"properties\":{\"answer\":{\"enum\":[\"allow\",\"deny\"]}},\"additionalProperties\":false}")
    (data (i32.const 1232) "artifact")
    (data (i32.const 1248) "crypto")
    (data (i32.const 1264) "data")
    (data (i32.const 1280) "log")
    (data (i32.const 1296) "application/example")
    (data (i32.const 1328) "note")
    (data (i32.const 1344) "deny")
    (data (i32.const 1360) "unverified")
    (data (i32.const 1376) "the known signature was not verified")
    (data (i32.const 1424) "asked")
    (data (i32.const 1440) "manifest")
    (data (i32.const 1456) "config")
    (data (i32.const 1472) "sha256")
    (data (i32.const 1488) "referrers")
    (data (i32.const 1504) "attached")
    (data (i32.const 1520) "names")
    (data (i32.const 1536) "note")
    (data (i32.const 1552) "kind")
    (data (i32.const 1568) "workload")
    (data (i32.const 1584) "0123456789abcdef")
    (data (i32.const 1600) "the settings have a mistake")

    ;; RFC 8032, section 7.1, test 2: the key as SubjectPublicKeyInfo (RFC 8410), the message, the signature.
    (data (i32.const 1664)
        "\30\2a\30\05\06\03\2b\65\70\03\21\00"
        "\3d\40\17\c3\e8\43\89\5a\92\b7\0a\a7\4d\1b\7e\bc\9c\98\2c\cf\2e\c4\96\8c\c0\cd\55\f1\2a\f4\66\0c")
    (data (i32.const 1712) "\72")
    (data (i32.const 1728)
        "\92\a0\09\a9\f0\d4\ca\b8\72\0e\82\0b\5f\64\25\40\a2\b2\7b\54\16\50\3f\8f\b3\76\22\23\eb\db\69\da"
        "\08\5a\c1\e4\3e\15\99\6e\45\8f\36\13\d0\f1\1d\8c\38\7b\2e\ae\b4\30\2a\ee\b0\0d\29\16\12\bb\0c\00")

    ;; The description, at 2048: texts as address and length, a list of texts.
    (data (i32.const 2048)
        "\00\04\00\00\06\00\00\00"
        "\10\04\00\00\05\00\00\00"
        "\20\04\00\00\23\00\00\00"
        "\50\04\00\00\60\00\00\00"
        "\40\08\00\00\04\00\00\00"
        "\00\00\00\00\00\00\00\00")
    (data (i32.const 2112)
        "\d0\04\00\00\08\00\00\00"
        "\e0\04\00\00\06\00\00\00"
        "\f0\04\00\00\04\00\00\00"
        "\00\05\00\00\03\00\00\00")

    (func (export "countersign:policy/ruling@0.1.0#describe") (result i32) (i32.const 2048))

    ;; Settings of one byte have a mistake.
    (func (export "countersign:policy/ruling@0.1.0#check-settings") (param $text i32) (param $length i32)
        (result i32)
        (if (i32.eq (local.get $length) (i32.const 1))
            (then
                (i32.store (i32.const 2304) (i32.const 2312))
                (i32.store (i32.const 2308) (i32.const 1))
                (i32.store (i32.const 2312) (i32.const 1600))
                (i32.store (i32.const 2316) (i32.const 27)))
            (else
                (i32.store (i32.const 2304) (i32.const 0))
                (i32.store (i32.const 2308) (i32.const 0))))
        (i32.const 2304))

    ;; Whether a text has the word `deny`.
    (func $has_deny (param $at i32) (param $length i32) (result i32)
        (local $end i32)
        (if (i32.lt_u (local.get $length) (i32.const 4)) (then (return (i32.const 0))))
        (local.set $end (i32.sub (i32.add (local.get $at) (local.get $length)) (i32.const 4)))
        (loop $next
            (if (i32.eq (i32.load (local.get $at)) (i32.load (i32.const 1344))) (then (return (i32.const 1))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $next (i32.le_u (local.get $at) (local.get $end))))
        (i32.const 0))

    ;; How many annotations there are, at 4096: name and value.
    (global $annotations (mut i32) (i32.const 0))

    (func $annotate (param $name i32) (param $name_length i32) (param $value i32) (param $length i32)
        (local $at i32)
        (local.set $at (i32.add (i32.const 4096) (i32.shl (global.get $annotations) (i32.const 4))))
        (i32.store (local.get $at) (local.get $name))
        (i32.store offset=4 (local.get $at) (local.get $name_length))
        (i32.store offset=8 (local.get $at) (local.get $value))
        (i32.store offset=12 (local.get $at) (local.get $length))
        (global.set $annotations (i32.add (global.get $annotations) (i32.const 1))))

    ;; Bytes as hexadecimal digits; answers where they are.
    (func $hex (param $at i32) (param $length i32) (result i32)
        (local $text i32) (local $i i32) (local $byte i32)
        (local.set $text (call $realloc (i32.const 0) (i32.const 0) (i32.const 1)
            (i32.shl (local.get $length) (i32.const 1))))
        (loop $next
            (local.set $byte (i32.load8_u (i32.add (local.get $at) (local.get $i))))
            (i32.store8 (i32.add (local.get $text) (i32.shl (local.get $i) (i32.const 1)))
                (i32.load8_u offset=1584 (i32.shr_u (local.get $byte) (i32.const 4))))
            (i32.store8 offset=1 (i32.add (local.get $text) (i32.shl (local.get $i) (i32.const 1)))
                (i32.load8_u offset=1584 (i32.and (local.get $byte) (i32.const 15))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (local.get $length))))
        (local.get $text))

    ;; The answer, at 3072: a decision, warnings, annotations, the time until which it holds, more. Results of calls
    ;; go to 3200.
    (func (export "countersign:policy/ruling@0.1.0#evaluate") (param $question i32) (result i32)
        (local $settings i32) (local $length i32)
        (local.set $settings (i32.load offset=180 (local.get $question)))
        (local.set $length (i32.load offset=184 (local.get $question)))

        (call $write (i32.const 1) (i32.const 1424) (i32.const 5))

        (call $manifest (i32.const 3200))
        (call $annotate (i32.const 1440) (i32.const 8) (i32.load (i32.const 3200)) (i32.load (i32.const 3204)))
        (call $digest (i32.const 0) (i32.load (i32.const 3200)) (i32.load (i32.const 3204)) (i32.const 3208))
        (call $annotate (i32.const 1472) (i32.const 6)
            (call $hex (i32.load (i32.const 3208)) (i32.load (i32.const 3212)))
            (i32.shl (i32.load (i32.const 3212)) (i32.const 1)))

        (call $config (i32.const 3216))
        (call $annotate (i32.const 1456) (i32.const 6) (i32.load (i32.const 3216)) (i32.load (i32.const 3220)))

        ;; The digest of the first referrer of a type, and what that has.
        (call $referrers (i32.const 1) (i32.const 1296) (i32.const 19) (i32.const 3224))
        (if (i32.load (i32.const 3228))
            (then
                (call $annotate (i32.const 1488) (i32.const 9)
                    (i32.load (i32.load (i32.const 3224)))
                    (i32.load offset=4 (i32.load (i32.const 3224))))
                (call $attached
                    (i32.load (i32.load (i32.const 3224)))
                    (i32.load offset=4 (i32.load (i32.const 3224)))
                    (i32.const 3232))
                (if (i32.load8_u (i32.const 3232))
                    (then (call $annotate (i32.const 1504) (i32.const 8)
                        (i32.load (i32.const 3236)) (i32.load (i32.const 3240)))))))

        ;; The first name, and the document `note`.
        (call $names (i32.const 3244))
        (if (i32.load (i32.const 3248))
            (then (call $annotate (i32.const 1520) (i32.const 5)
                (i32.load (i32.load (i32.const 3244)))
                (i32.load offset=4 (i32.load (i32.const 3244))))))
        (call $read (i32.const 1328) (i32.const 4) (i32.const 3252))
        (if (i32.load8_u (i32.const 3252))
            (then (call $annotate (i32.const 1536) (i32.const 4)
                (i32.load (i32.const 3256)) (i32.load (i32.const 3260)))))

        ;; The kind of what wants to run the image.
        (if (i32.load8_u offset=88 (local.get $question))
            (then (call $annotate (i32.const 1552) (i32.const 4)
                (i32.load offset=100 (local.get $question)) (i32.load offset=104 (local.get $question)))))

        (i32.store (i32.const 3092) (i32.const 4096))
        (i32.store (i32.const 3096) (global.get $annotations))

        ;; The settings, as a warning.
        (i32.store (i32.const 3084) (i32.const 3328))
        (i32.store (i32.const 3088) (i32.const 1))
        (i32.store (i32.const 3328) (local.get $settings))
        (i32.store (i32.const 3332) (local.get $length))

        ;; It holds for a minute.
        (i32.store8 (i32.const 3104) (i32.const 1))
        (i64.store (i32.const 3112) (i64.add (i64.load offset=192 (local.get $question)) (i64.const 60)))

        (if (call $has_deny (local.get $settings) (local.get $length))
            (then
                (i32.store8 (i32.const 3072) (i32.const 1))
                (i32.store (i32.const 3076) (i32.const 3344))
                (i32.store (i32.const 3080) (i32.const 1))
                (i32.store (i32.const 3344) (i32.const 1344))
                (i32.store (i32.const 3348) (i32.const 4))
                (i32.store (i32.const 3352) (local.get $settings))
                (i32.store (i32.const 3356) (local.get $length))))
        (if (i32.eqz (call $verify (i32.const 8)
                (i32.const 1664) (i32.const 44) (i32.const 1712) (i32.const 1) (i32.const 1728) (i32.const 64)))
            (then
                (i32.store8 (i32.const 3072) (i32.const 1))
                (i32.store (i32.const 3076) (i32.const 3344))
                (i32.store (i32.const 3080) (i32.const 1))
                (i32.store (i32.const 3344) (i32.const 1360))
                (i32.store (i32.const 3348) (i32.const 10))
                (i32.store (i32.const 3352) (i32.const 1376))
                (i32.store (i32.const 3356) (i32.const 36))))
        (i32.const 3072)))
