"""Short texts in the encodings that programs of their languages write."""

from __future__ import annotations

from collections.abc import Iterator

_WESTERN = ("cp1252", "utf-8", "utf-16-le")
_TEXTS: dict[tuple[str, ...], str] = {
    (*_WESTERN, "utf-16-be"): """
        The “best” way – he said – isn’t always the cheapest… it costs €20.
        A naïve façade – “quoted” at €9.99.
        Don’t forget: the café closes at 6 – or so they say.
        “Where is the résumé?” she asked.
        Prices rose by 5 % – from €10 to €10.50 – in May.
        It’s the company’s policy — no exceptions.
        L’été dernier, nous avons visité le château près de la rivière.
        C’était très agréable, même s’il a plu toute la journée.
        Où est la bibliothèque ? Elle est à côté de l’église.
        Größe und Straße: die Übung beginnt um zwölf Uhr.
        Die Bücher über Vögel stehen im Regal für Gäste.
        „Können Sie mir helfen?“ fragte der Mann höflich.
        El niño comió una manzana y después bebió agua.
        ¿Dónde está la estación más próxima? ¡Está aquí!
        A reunião começa às nove horas da manhã, não às dez.
        O coração da cidade está na praça da Sé.
        Perché non è venuto alla festa? È già tardi.
        Båten går från bryggan klockan åtta på lördag.
        Det är inte så lätt att förstå språket.
        Rødgrød med fløde på en skål er en dansk ret.
        De reünie van de coördinatoren was één succes.
        Hyvää päivää, missä on lähin pankki täällä?
    """,
    ("iso8859-1", "mac_roman"): """
        Größe und Straße: die Übung beginnt um zwölf Uhr in der Schule.
        L'été dernier, nous avons visité le château près de la rivière.
        El niño comió una manzana y después bebió agua en el jardín.
        A reunião começa às nove horas da manhã e não às dez horas.
        Båten går från bryggan klockan åtta på lördag och söndag.
        Die Bücher über Vögel stehen im Regal für unsere Gäste.
    """,
    ("cp1250", "iso8859-2", "utf-8", "utf-16-le"): """
        Příliš žluťoučký kůň úpěl ďábelské ódy.
        Nechť již hříšné saxofony ďáblů rozezvučí síň.
        Prosím, kde je nejbližší nádraží? Děkuji vám mnohokrát.
        Zażółć gęślą jaźń, powiedział nauczyciel.
        Gdzie jest najbliższa apteka? Jest za rogiem, obok kościoła.
        Proszę przesłać dokumenty do końca miesiąca września.
        Árvíztűrő tükörfúrógép, mondta a tanár úr.
        Hol van a legközelebbi állomás? Köszönöm szépen a választ.
        A gyerekek örültek a hónak, és egész délután játszottak.
    """,
    ("cp1251", "koi8-r", "cp866", "iso8859-5", "utf-8", "utf-16-le", "utf-16-be"): """
        Съешь же ещё этих мягких французских булок, да выпей чаю.
        Где находится ближайшая аптека?
        Мы встретимся завтра утром на вокзале.
        Москва является столицей России.
        Документы нужно отправить до конца месяца.
        Книга лежит на столе, а ручка под столом.
    """,
    ("cp1251", "koi8-u", "utf-8"): """
        Україна є найбільшою державою в Європі.
        Де знаходиться найближча аптека? Її немає поруч.
        Діти їдять яблука і п'ють сік у саду.
        Київ є столицею України з давніх часів.
    """,
    ("cp1253", "iso8859-7", "utf-8", "utf-16-le"): """
        Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.
        Πού είναι το πλησιέστερο φαρμακείο;
        Τα παιδιά παίζουν στον κήπο κάθε απόγευμα.
        Καλημέρα σας, πώς είστε σήμερα;
        Το βιβλίο βρίσκεται πάνω στο τραπέζι.
    """,
    ("cp1254", "utf-8", "utf-16-le"): """
        Türkiye’nin başkenti Ankara’dır ve İstanbul en büyük şehirdir.
        En yakın eczane nerede? Köşeyi dönünce sağda göreceksiniz.
        Çocuklar bahçede oynuyor ve şarkı söylüyorlar.
        Yarın sabah istasyonda buluşacağız, geç kalmayın lütfen.
        Öğretmen öğrencilere ağaçların yapraklarını gösterdi.
    """,
    ("cp1255", "utf-8", "utf-16-le"): """
        ירושלים היא בירת ישראל.
        איפה נמצא בית המרקחת הקרוב ביותר?
        הילדים משחקים בגן כל יום אחר הצהריים.
        הספר נמצא על השולחן ליד החלון.
        ניפגש מחר בבוקר בתחנת הרכבת.
    """,
    ("cp1256", "utf-8", "utf-16-le"): """
        القاهرة هي عاصمة جمهورية مصر العربية.
        أين توجد أقرب صيدلية من هنا؟
        يلعب الأطفال في الحديقة كل يوم بعد الظهر.
        الكتاب موجود على الطاولة بجانب النافذة.
        سنلتقي غدا صباحا في محطة القطار.
    """,
    ("cp1257", "utf-8"): """
        Vilnius yra Lietuvos sostinė ir didžiausias šalies miestas.
        Kur yra artimiausia vaistinė? Ji yra už kampo, šalia bažnyčios.
        Rīga ir Latvijas galvaspilsēta un lielākā pilsēta Baltijā.
        Bērni spēlējas dārzā katru dienu pēc skolas beigām.
    """,
    ("cp874", "utf-8", "utf-16-le"): """
        กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย
        ร้านขายยาที่ใกล้ที่สุดอยู่ที่ไหน
        เด็กๆ เล่นอยู่ในสวนทุกวันหลังเลิกเรียน
        หนังสืออยู่บนโต๊ะข้างหน้าต่าง
    """,
    ("shift_jis", "euc-jp", "iso2022_jp", "utf-8", "utf-16-le"): """
        これは短い文です。
        東京は日本の首都であり、最大の都市です。
        一番近い薬局はどこにありますか。
        子供たちは毎日公園で遊んでいます。
        明日の朝、駅で会いましょう。
        本は窓のそばの机の上にあります。
        カタログの価格は税込みです。
        お世話になっております。資料をお送りします。
    """,
    ("gb18030", "utf-8", "utf-16-le"): """
        北京是中华人民共和国的首都。
        最近的药店在哪里？
        孩子们每天下午在公园里玩。
        书在窗边的桌子上。
        我们明天早上在火车站见面。
        图书馆的开放时间是上午九点到下午五点。
        请在月底之前把文件发给我。
        这个产品的价格是二十元。
    """,
    ("big5", "utf-8", "utf-16-le"): """
        台北是台灣的首都，也是最大的城市。
        最近的藥局在哪裡？
        孩子們每天下午在公園裡玩。
        書在窗邊的桌子上。
        我們明天早上在火車站見面。
        圖書館的開放時間是上午九點到下午五點。
        請在月底之前把文件寄給我。
        這個產品的價格是二十元。
    """,
    ("euc-kr", "utf-8", "utf-16-le"): """
        서울은 대한민국의 수도이며 가장 큰 도시입니다.
        가장 가까운 약국이 어디에 있습니까?
        아이들은 매일 오후에 공원에서 놀아요.
        책은 창문 옆 책상 위에 있습니다.
        내일 아침에 기차역에서 만납시다.
        도서관은 오전 아홉 시에 문을 엽니다.
    """,
    ("cp437", "cp850"): """
        Größe und Straße: die Übung beginnt um zwölf Uhr.
        Die Bücher über Vögel stehen im Regal für Gäste.
        Können Sie mir bitte helfen? fragte der Mann höflich.
        L'été dernier, nous avons visité le château près de la rivière.
        C'était très agréable, même s'il a plu toute la journée.
        El niño comió una manzana y después bebió agua.
        ¿Dónde está la estación más próxima? ¡Está aquí!
        Båten går från bryggan klockan åtta på lördag.
        Det är inte så lätt att förstå språket.
        Hyvää päivää, missä on lähin pankki täällä?
        Der Schlüssel liegt auf dem Küchentisch.
        Les élèves ont passé leurs examens à Noël.
        La señora Muñoz vive en una casa pequeña.
        De reünie van de coördinatoren was één succes.
    """,
    ("cp850",): """
        Perché non è venuto alla festa? È già tardi.
        A reunião começa às nove horas da manhã, não às dez.
        O coração da cidade está na praça da Sé.
        Rødgrød med fløde på en skål er en dansk ret.
        Smørrebrød og øl til frokost på søndag.
    """,
    ("mac_cyrillic",): """
        Съешь же ещё этих мягких французских булок, да выпей чаю.
        Где находится ближайшая аптека?
        Мы встретимся завтра утром на вокзале.
        Москва является столицей России.
        Документы нужно отправить до конца месяца.
        Книга лежит на столе, а ручка под столом.
        Сегодня хорошая погода, и мы идём гулять.
        В комнате стоит большой стол.
    """,
    ("johab",): """
        서울은 대한민국의 수도이며 가장 큰 도시입니다.
        가장 가까운 약국이 어디에 있습니까?
        아이들은 매일 오후에 공원에서 놀아요.
        책은 창문 옆 책상 위에 있습니다.
        내일 아침에 기차역에서 만납시다.
        도서관은 오전 아홉 시에 문을 엽니다.
        안녕하세요. 만나서 반갑습니다.
    """,
    ("iso8859-4",): """
        Vilnius yra Lietuvos sostinė ir didžiausias šalies miestas.
        Kur yra artimiausia vaistinė? Ji yra už kampo, šalia bažnyčios.
        Rīga ir Latvijas galvaspilsēta un lielākā pilsēta Baltijā.
        Bērni spēlējas dārzā katru dienu pēc skolas beigām.
        Šiandien oras gražus, todėl einame pasivaikščioti.
        Grāmata atrodas uz galda pie loga.
        Ģimene dzīvo mājā pie ezera.
        Täna on ilus ilm ja õues lõhnab sirel.
    """,
}


def texts() -> Iterator[tuple[str, str]]:
    """Yields (encoding, text), each text in each of its encodings."""
    for encodings, lines in _TEXTS.items():
        for text in (line.strip() for line in lines.strip().splitlines()):
            for encoding in encodings:
                yield encoding, text


# Words and phrases, which say too little about their encoding to be always right.
_PHRASES: dict[tuple[str, ...], str] = {
    ("cp1252",): (
        "Hello – world|It’s|“Yes”|Price: €5|£20|© 2020 ACME|½ cup|10 °C|naïve|Zoë|café|résumé|Müller|Straße "
        "5|Grüße|Ça va ? Très bien.|à bientôt|L’été|voilà|où es-tu ?|déjà vu|élève|niño|mañana|¿Qué "
        "tal?|¡Hola!|España|São Paulo|coração|não|avó|è "
        "vero|perché|città|più|smörgås|Malmö|Åse|smørrebrød|København|fjörður|über|Österreich|schön|Prüfung|"
        "Äpfel|Tschüß|Noël|façade|señor|cañón|jalapeño|Die "
        "Tür ist zu.|Où est Zoé ?|hôtel|forêt|Fête de Noël|Größe: 5|Gödel’s proof|rock ’n’ roll|the "
        "’90s|1990–1995|pages 5–9|He said: “no”.|wait…|5 × 3|± 2 %|§ 5|• one|ACME™|®|Côte "
        "d’Ivoire|Genève|Zürich|Bogotá|Córdoba|Malaga, España|Perú|el año pasado|la leçon|Ein Tag für "
        "Dich|für|Mädchen|Übung macht den Meister|à la "
        "carte|Beyoncé|Brontë|Citroën|Curaçao|Málaga|Möbius|Ångström|Schrödinger|Tromsø|Århus|Gävle|"
        "Hämeenlinna|Jyväskylä|pâté|crème "
        "brûlée|piñata|über "
        "alles|touché|cliché|soufflé|Renée|José|María|François|André|Björk|Søren|Jürgen|Günther|Peña|Núñez|"
        "João|Conceição|Iñigo|Núria|Òscar|Lluís|Çelik"
    ),
    ("cp1250", "iso8859-2"): (
        "Łódź|Żółw|Gdańsk|Kraków|źródło|dziękuję|proszę "
        "bardzo|cześć|jabłko|Wrocław|Příbram|Plzeň|děkuji|čeština|Žižkov|kůň|dobrý večer|Brno – "
        "střed|Győr|Szőlő|könyv|hűtő|ősz|č. 5|Škoda|žena|české "
        "dráhy|ľadový|Košice|ďakujem|Čakovec|Đakovo|čovjek|București şi Iaşi|mulţumesc|să fie"
    ),
    ("cp1251", "koi8-r", "cp866", "iso8859-5"): (
        "Привет|Москва|да|нет|Спасибо!|Что это?|Ёлка|объём|Цена: 100|Тел. 5|Иван Петров|я|ещё "
        "раз|Санкт-Петербург|договор № 5"
    ),
    ("cp1251", "koi8-u"): ("Київ|Дякую|Україна|їжак"),
    ("cp1253", "iso8859-7"): ("Αθήνα|ναι|όχι|Ελλάδα|ευχαριστώ|Καλημέρα!|λόγος"),
    ("cp1254",): ("İstanbul|teşekkürler|güneş|Türkçe|çocuk|ışık|öğretmen|Şişli|ağaç|günaydın|hoşça kal"),
    ("cp1255",): ("שלום|ירושלים|תודה רבה|כן|מה זה?"),
    ("cp1256",): ("مرحبا|شكرا|القاهرة|نعم|كيف حالك؟"),
    ("cp1257",): ("Vilnius, ačiū|Rīga|šiandien|ģimene|Õunapuu|žmogus"),
    ("cp874",): ("สวัสดี|กรุงเทพ|ขอบคุณ|ไทย"),
    ("shift_jis", "euc_jp"): (
        "東京|大阪市|こんにちは|カタカナ|日本語|会社概要|お知らせ|銀行|ありがとう|株式会社サンプル|昨日、映画を見た。|1月1日"
    ),
    ("gb18030",): ("你好|中国|北京|图书馆|谢谢|今天天气很好。|价格：5元|上海市|人民"),
    ("big5",): ("你好|台灣|圖書館|謝謝|今天天氣很好。|臺北市|中文"),
    ("cp949",): ("안녕|서울|감사합니다|한국어|도서관은 어디에 있습니까?|가격: 5원|네"),
    ("utf-16-le", "utf-16-be"): (
        "Hi|Hello there|日本語|图书馆|Привет|안녕하세요|مرحبا|Zoë|ok|中国|Łódź|café|你好，世界|€5"
    ),
    ("utf-32-le", "utf-32-be"): ("Hello|日本"),
    ("iso2022_jp",): ("東京都です|こんにちは"),
    ("mac_roman",): ("Café “quoted”|naïve façade|Münchner Straße|El niño está aquí.|It’s a test – ok"),
}


def phrases() -> Iterator[tuple[str, str]]:
    """Yields each word or phrase with each encoding that has its characters."""
    for encodings, text in _PHRASES.items():
        for encoding in encodings:
            for phrase in text.split("|"):
                try:
                    is_ascii = phrase.encode(encoding).isascii()
                except UnicodeEncodeError:
                    continue
                if not is_ascii or encoding.startswith(("utf", "iso2022")):
                    yield encoding, phrase
